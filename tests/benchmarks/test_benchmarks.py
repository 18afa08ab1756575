"""The speed programs run and write what they print; how fast is not for a test to say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_methods(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    small = ("encoder.options.hidden_dim=16", "encoder.options.channels=4", "method.projector.hidden=16")
    text = run(
        *("methods.py", "tribyol", "mhe", "--rounds", 1, "--json", figures, "training.batch_size=4", *small),
        "training.precision=float32",
    )
    assert "at most" in text and "1.75" in text
    found = json.loads(figures.read_text())
    assert list(found["methods"]) == ["byola_v2", "tribyol", "mhe"] and found["batch_size"] == 4
    assert found["methods"]["byola_v2"]["relative"] == 1 and found["methods"]["mhe"]["target"] == 1.15
    assert all(cost["seconds"] > 0 for cost in found["methods"].values())


def test_embed(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    text = run("embed.py", "--files", 3, "--seconds", 0.5, "--rounds", 1, "--json", figures)
    assert "s/s" in text
    rates = json.loads(figures.read_text())["audio_seconds_per_second"]
    assert set(rates) == {f"{part}, {precision}" for part in ("encoder", "files") for precision in ("float32", "bf16")}


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is measured through Linux's /proc")
def test_data(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    text = run("data.py", "--quick", "--folder", tmp_path, "--json", figures)
    assert "target" in text and "order by labels" in text
    found = json.loads(figures.read_text())
    for mode in ("process", "worker"):
        rates = found[f"crops_per_second_in_one_{mode}"]
        assert {"store", "wav", "flac", "mp3", "ogg"} <= set(rates)
        assert all(rate > 0 for rate in rates.values())
    assert found["index"]["rows"] == 3000 and set(found["index"]["order_seconds"]) == {"file", "duration", "labels"}
    assert list(tmp_path.iterdir()) == [figures]
    plan = run("plan.py", figures, "--nodes", 2, "--gpus", 4, "--clips", 1e6, "--cache-gb", 80)
    assert "| all | 11,574 |" in plan and "| each of 8 GPUs | 1,447 | 44.0 |" in plan
    assert "| store | 320 GB | 1,250 shards |" in plan and "| 75% |" in plan
