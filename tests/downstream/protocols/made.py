"""Tasks and embeddings with known answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from byol_a.data.report import FileReport
from downstream.features import EmbeddingRequest
from downstream.protocols import one_hot
from downstream.tasks import Clip, Task


def make_task(parts: list[str], labels: list[str], groups: list[str] | None = None, **options: object) -> Task:
    groups_or_none = groups or [None] * len(parts)  # type: ignore[list-item]
    clips = tuple(
        Clip(Path(f"{i}.wav"), tuple(filter(None, label.split(","))), part, group)
        for i, (part, label, group) in enumerate(zip(parts, labels, groups_or_none, strict=True))
    )
    classes = tuple(sorted({name for clip in clips for name in clip.labels}))
    return Task("made", "label", clips, classes, "given", **options)  # type: ignore[arg-type]


def folds_task(n: int = 90) -> Task:
    return make_task([str(i % 3) for i in range(n)], ["abc"[(i // 3) % 3] for i in range(n)])


def parts_task(n: int = 120, **options: object) -> Task:
    """Half train, a quarter each valid and test, three classes."""
    return make_task(
        [("train", "train", "valid", "test")[(i // 3) % 4] for i in range(n)],
        ["abc"[i % 3] for i in range(n)],
        **options,  # type: ignore[arg-type]
    )


def tagged_task(n: int = 160) -> Task:
    """Every subset of three labels."""
    return make_task(
        [("train", "train", "valid", "test")[(i // 8) % 4] for i in range(n)],
        [",".join(name for bit, name in enumerate("abc") if i >> bit & 1) for i in range(n)],
        metrics=("macro_map", "d_prime", "lwlrap"),
        multi_label=True,
    )


def noisy(task: Task, noise: float, dim: int = 12, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(task.classes), dim))
    clean = one_hot(task).astype(float) @ centres
    return (clean + noise * rng.normal(size=clean.shape)).astype(np.float32)


class MadeSource:
    """Gives the same embeddings for every request, and keeps a record of the requests.

    The clips `gone` can be used as a whole and never after that.
    """

    def __init__(
        self,
        embeddings: np.ndarray,
        asked: list[tuple[EmbeddingRequest, list[int]]] | None = None,
        gone: Sequence[int] = (),
    ) -> None:
        self.embeddings, self.asked, self.gone = embeddings, [] if asked is None else asked, gone
        self.indices = list(range(len(embeddings)))
        self.measured: list[list[int]] = []

    def matrix(self, request: EmbeddingRequest = EmbeddingRequest()) -> np.ndarray:  # noqa: B008
        self.asked.append((request, self.indices))
        rows = self.embeddings[self.indices]
        if request.cut != "whole":
            rows[np.isin(self.indices, self.gone)] = np.nan
        return rows

    @property
    def problems(self) -> FileReport:
        report = FileReport()
        report.extend((f"{index}.wav", "does not exist") for index in self.indices if index in self.gone)
        return report

    def only(self, indices: Sequence[int]) -> MadeSource:
        some = MadeSource(self.embeddings, self.asked, self.gone)
        some.indices = [self.indices[index] for index in indices]
        return some

    def statistics(self, indices: Sequence[int]) -> tuple[float, float]:
        self.measured.append(list(indices))
        return float(min(indices)), 2.0
