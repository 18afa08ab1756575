"""Scores that papers report, to stand beside ours: `published.yaml` as rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from byol_a.config import build, read_yaml

FILE = "published.yaml"
MEAN = "mean"


@dataclass(frozen=True)
class PublishedScore:
    """One number of a paper.

    Attributes:
        task: the name of a recipe in `recipes/evaluate`; "mean" for the mean over the tasks `mean_over`.
        protocol: "evar", or "linear": the linear evaluation of BYOL-A's first paper, which compares with no protocol
            here.
        metric: a name in `downstream.metrics.METRICS`.
        value: within 0 and 1.
        dim: of the embedding; None where that is not known.
        source: where it is printed.
        note: what a reader should know of it, often nothing.
        mean_over: of a mean, the tasks that it is over.
    """

    model: str
    task: str
    protocol: str
    metric: str
    value: float
    dim: int | None
    source: str
    note: str = ""
    mean_over: tuple[str, ...] = ()


def published_scores() -> list[PublishedScore]:
    """Every published score that comes with the package, model by model."""
    path = Path(str(resources.files("downstream") / FILE))
    entries = build(_File, read_yaml(path), FILE).published
    return [score for entry in entries for score in entry.rows()]


@dataclass(frozen=True)
class _Entry:
    """A model under a protocol, as the file has it, in per cent."""

    model: str
    protocol: str
    source: str
    mean: float
    dim: int | None = None
    note: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    mean_over: list[str] = field(default_factory=list)

    def rows(self) -> Iterator[PublishedScore]:
        """One for each task and one for the mean."""
        for task, per_cent in {**self.scores, MEAN: self.mean}.items():
            yield PublishedScore(
                self.model,
                task,
                self.protocol,
                self.metrics.get(task, "accuracy"),
                round(per_cent / 100, 6),
                self.dim,
                self.source,
                self.note,
                tuple(self.mean_over or self.scores) if task == MEAN else (),
            )


@dataclass(frozen=True)
class _File:
    published: list[_Entry]
