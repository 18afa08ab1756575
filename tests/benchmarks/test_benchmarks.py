"""The speed programs run and write what they print; how fast is not for a test to say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.training.small import RECIPE, environment

ROOT = Path(__file__).resolve().parents[2]


def run(program: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / program, *map(str, arguments)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pretrain(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(RECIPE)
    figures = tmp_path / "figures.json"
    small = ("training.batch_size=8", "training.precision=float32")
    text = run(
        "pretrain.py", "--recipe", tmp_path / "small.yaml", "--rounds", 2, "--steps", 2, "--json", figures, *small
    )
    assert "end to end / bare step" in text
    found = json.loads(figures.read_text())
    assert set(found["clips_per_second"]) == {"input", "views", "step", "end to end"}
    assert all(rate > 0 for rate in found["clips_per_second"].values())
    assert found["peak_memory_mb"]["process"] > 0


def test_embed(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    text = run("embed.py", "--files", 3, "--seconds", 0.5, "--rounds", 1, "--json", figures)
    assert "s/s" in text
    rates = json.loads(figures.read_text())["audio_seconds_per_second"]
    assert set(rates) == {f"{part}, {precision}" for part in ("encoder", "files") for precision in ("float32", "bf16")}
