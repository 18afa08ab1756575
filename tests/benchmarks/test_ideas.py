"""benchmarks/ideas.py: every idea alone changes how a step is computed, not what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from byol_a.kernels import kernels_for, why_none

from .test_benchmarks import run

CPU = torch.device("cpu")


@pytest.mark.skipif(kernels_for(CPU) is None, reason=f"the CPU has no kernels: {why_none(CPU)}")
def test_what_each_idea_brings(tmp_path: Path) -> None:
    small = ["encoder.options={hidden_dim: 32, channels: 16}", "training.batch_size=4", "training.precision=float32"]
    out = run("ideas.py", "--device", "cpu", "--rounds", "1", "--json", tmp_path / "ideas.json", *small)
    figures = json.loads((tmp_path / "ideas.json").read_text())
    assert next(iter(figures["seconds"])) == "plain path" and len(figures["seconds"]) >= 4
    assert figures["times_plain"]["plain path"] == 1.0
    assert all(name in out for name in figures["seconds"])
