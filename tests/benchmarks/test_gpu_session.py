"""The session on a GPU machine runs here in small, without the packages that a GPU machine may lack."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from byol_a.config import build
from byol_a.data.store.audio_store import AudioStore
from byol_a.recipes import read_recipe
from byol_a.training.config import PretrainConfig
from tests.training.small import environment

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
MISSING = ("soundfile", "soxr", "librosa", "nnAudio", "pydantic", "sklearn")


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs import each other as scripts do."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def session(folder: Path, *arguments: object) -> tuple[int, str, dict[str, Any]]:
    """The exit code, what was printed, and the figures of a small session on the CPU."""
    lacking = folder / "lacking"
    lacking.mkdir(exist_ok=True)
    for name in MISSING:
        (lacking / f"{name}.py").write_text(f"raise ImportError('{name} is not on this machine')\n")
    figures = folder / "figures.json"
    command = [sys.executable, BENCHMARKS / "gpu_session.py", "--device", "cpu", "--quick", "--json", figures]
    done = subprocess.run(
        [*map(str, command), *map(str, arguments)],
        env={**environment(), "PYTHONPATH": str(lacking)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout, json.loads(figures.read_text()) if figures.exists() else {}


def test_parts_run_without_what_a_gpu_machine_may_lack(tmp_path: Path) -> None:
    parts = ("end_to_end", "embed", "learning", "kernels")
    code, text, figures = session(tmp_path, "--parts", *parts)
    assert code == 0, text
    assert set(figures) == set(parts)
    assert set(figures["end_to_end"]["clips_per_second"]) == {"end to end", "bare step", "views", "input"}
    assert len(figures["kernels"]["kernels"]) == 11
    assert abs(figures["learning"]["difference"]) < 0.5
    assert ">= 20,000" in text and "of a copy" in text


def test_a_part_that_fails_costs_itself_alone_and_a_later_call_goes_on(tmp_path: Path) -> None:
    code, text, figures = session(tmp_path, "--data", tmp_path / "no store", "--parts", "waits", "optimiser")
    assert code == 1 and "waits failed" in text
    assert "error" in figures["waits"] and "error" not in figures["optimiser"]
    code, text, again = session(tmp_path, "--seconds", 1)
    assert again == figures and "no time is left" in text and "optimiser:" not in text


def test_the_store_is_one_and_the_configuration_the_recipes(tmp_path: Path) -> None:
    from gpu_store import byola_v2, write_store

    store = AudioStore.open(write_store(tmp_path / "store", clips=3, seconds=0.5))
    assert len(store) == 3 and store.lengths.tolist() == [8000] * 3
    assert len({store.read(8000 * clip, 8000).tobytes() for clip in range(3)}) == 3
    found = byola_v2(quick=False, device="cuda")
    expected = build(PretrainConfig, read_recipe("pretrain", "byola_v2"), "byola_v2")
    found.training.precision = expected.training.precision
    assert found == expected


def test_a_table_of_anything() -> None:
    from gpu_session import table

    assert "not measured" in table({})
    text = table({"ideas": {"plain": {"error": "no memory"}, "said": []}, "embed": {"error": "gone", "log": []}})
    assert "no memory" in text and "embed failed: gone" in text
