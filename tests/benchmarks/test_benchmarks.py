"""The speed programs run and write what they print; how fast is not for a test to say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
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
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pretrain(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(RECIPE)
    figures = tmp_path / "figures.json"
    small = ("training.batch_size=8", "training.precision=float32")
    text = run(
        "pretrain.py", "--recipe", tmp_path / "small.yaml", "--rounds", 1, "--steps", 2, "--json", figures, *small
    )
    assert "end to end / bare step" in text
    found = json.loads(figures.read_text())
    assert set(found["clips_per_second"]) == {"input", "views", "step", "end to end"}
    assert all(rate > 0 for rate in found["clips_per_second"].values())
    assert found["end_to_end_over_step"] > 0 and found["peak_memory_mb"]["process"] > 0
    assert found["machine"]["torch"] and found["peaks"]["bytes_per_second"] > 0


def test_pretrain_beside_the_baseline_and_the_plain_path(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    figures = tmp_path / "figures.json"
    for number in range(3):
        write_wav(tmp_path / "sounds" / f"{number}.wav", seed=number)
    smallest = (
        *("frontend.n_mels=16", "encoder.options.hidden_dim=16", "encoder.options.channels=16"),
        *("augment.mixup.memory=20", "method.projector.hidden=16", "method.predictor.hidden=16"),
        *("training.batch_size=8", "training.precision=float32", "data.workers=1"),
    )
    text = run(
        *("pretrain.py", "--fast", "both", "--rounds", 1, "--steps", 2, "--json", figures, *smallest),
        *("--baseline", "--baseline-steps", 1, "--data", tmp_path / "sounds"),
    )
    found = json.loads(figures.read_text())
    parts = {"input", "views", "step", "end to end", "step, fast off", "end to end, fast off", "baseline"}
    assert set(found["clips_per_second"]) == parts
    assert found["ratio_to_baseline"] > 0 and found["ratio_to_fast_off"] > 0
    assert "end to end / baseline" in text and ">= 5" in text and "of roof" in text
    assert set(found["stage_seconds"]) == {"fast on", "fast off", "baseline", "baseline's clip"}
    assert {"forward online", "forward target", "backward", "EMA"} <= set(found["stage_seconds"]["baseline"])
    shares = found["roofline"]["bare step"]
    assert shares["seconds"] > 0 and 0 < shares["share_of_roof"] < 1


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
    found = json.loads(figures.read_text())
    kinds = [f"{part}, {precision}" for part in ("encoder", "files") for precision in ("float32", "bf16")]
    assert set(found["audio_seconds_per_second"]) == {*kinds, *(f"{kind}, fast off" for kind in kinds)}
    assert set(found["ratio_to_fast_off"]) == set(kinds) and found["target"] == 400 and "target" in text
    assert found["stages_ms_per_10_seconds"]["float32"]["front-end"] > 0 and found["machine"]["torch"]


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
