"""What is written about outcomes: rows first, under names that never collide or grow too long."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from byol_a import BYOLA, FrontendConfig, NormStats
from byol_a.data.report import FileReport
from byol_a.errors import ByolaError
from downstream import report
from downstream.cache import EmbeddingCache
from downstream.entrants import Controls, entrants_for
from downstream.evaluate import Entrant, Outcome, evaluate_entrants, write_outcomes
from downstream.protocols import DefaultProtocol
from downstream.tasks import Clip, Task

FAST = DefaultProtocol(C_grid=(0.1, 1.0), seeds=(0,), resamples=20)


class Made:
    """Embeddings of numbered files: the number, and noise."""

    def __init__(self, name: str, fingerprint: str = "0123456789abcdef") -> None:
        self.name, self._fingerprint = name, fingerprint

    def fingerprint(self) -> str:
        return self._fingerprint

    def extract(self, paths: Sequence[Path], problems: FileReport) -> np.ndarray:
        rng = np.random.default_rng(0)
        return np.asarray([[int(path.stem) % 2, *rng.normal(size=3)] for path in paths], dtype=np.float32)


def made_task(labels: tuple[tuple[str, ...], ...] = (("$a^$",), ("b",))) -> Task:
    clips = tuple(Clip(Path(f"{i}.wav"), labels[i % len(labels)], "test" if i >= 20 else "train") for i in range(30))
    return Task("made", "label", clips, tuple(sorted({name for names in labels for name in names})), "given")


def outcomes_of(task: Task, *features: Made) -> list[Outcome]:
    entrants = [Entrant(made.name, made) for made in features]
    return evaluate_entrants(task, entrants, FAST, EmbeddingCache(None), say=lambda line: None)


def test_any_names_of_classes_and_models_can_be_written(tmp_path: Path) -> None:
    name = f"/somewhere/{'deep/' * 30}run/{'m' * 250}"
    written = write_outcomes(tmp_path, outcomes_of(made_task(), Made(name), Made("/a/run/model", "f" * 16)))
    assert written[0] == tmp_path / "scores.jsonl" and all(path.exists() for path in written)
    assert tmp_path / "made-label-run-model-ffffffff-knn10-confusion.png" in written
    assert not any("deep" in path.name for path in written)


def test_scores_are_kept_when_a_picture_cannot_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "write_confusion", full)
    with pytest.raises(ByolaError, match="No space left"):
        write_outcomes(tmp_path, outcomes_of(made_task(), Made("m")))
    assert len((tmp_path / "scores.jsonl").read_text().splitlines()) == 2


def test_models_of_one_name_do_not_replace_each_other(tmp_path: Path) -> None:
    outcomes = outcomes_of(made_task(), Made("a/run/model", "1" * 16), Made("b/run/model", "2" * 16))
    written = write_outcomes(tmp_path, outcomes)
    assert len(set(written)) == len(written) == 1 + 2 * 4


def test_random_controls_of_different_networks_differ_in_name(tmp_path: Path) -> None:
    names = []
    for options in ({}, {"embedding_dim": 512}, {"embedding_dim": 32}):
        folder = tmp_path / f"model{len(names)}"
        BYOLA("AudioNTT2020", options, FrontendConfig(), NormStats(-7.0, 4.0)).save_pretrained(folder)
        _, control = entrants_for(str(folder), Controls(random=True), [], batch_size=2, device="cpu")
        names.append(control.features.name)
    assert names == ["random:AudioNTT2020", "random:AudioNTT2020", "random:AudioNTT2020(embedding_dim=32)"]


def test_only_what_lies_within_0_and_1_is_called_score(tmp_path: Path) -> None:
    task = made_task((("x", "y"), ("y",)))
    task = replace(task, metrics=("macro_map", "d_prime"), multi_label=True)
    write_outcomes(tmp_path, outcomes_of(task, Made("m")))
    rows = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    for row in rows:
        assert ("score" in row) == (row["metric"] == "macro_map") != ("value" in row)
