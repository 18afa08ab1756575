"""Memory does not grow while a model is trained: `benchmarks/memory.py` over some hundreds of steps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.small import environment

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "memory.py"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured through Linux's /proc")
def test_memory_does_not_grow(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, "--steps", "400", "--json", tmp_path / "figures.json"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "growth per 1,000 steps" in done.stdout
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert len(figures["samples"]) >= 15
    assert all(sample["processes"] == 2 and sample["workers_mb"] > 0 for sample in figures["samples"])
    # A batch is 0.13 MB: keeping one in each step would be 128 MB in 1,000. Buffers still fill in so short a run.
    assert figures["mb_per_1000_steps"]["main_mb"] < 15
    assert figures["mb_per_1000_steps"]["workers_mb"] < 40
