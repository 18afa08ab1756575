"""What every protocol is: from a task and its embeddings to scores, one result per probe and setting."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from byol_a.errors import ByolaError
from byol_a.progress import Progress
from downstream.metrics import METRICS, Score, metrics_beside, score_folds
from downstream.tasks.base import Task

if TYPE_CHECKING:
    from downstream.features import EmbeddingSource

RESAMPLES = 1000  # of the bootstrap
LASTING_SECONDS = 5.0  # work that took less leaves no line in a pipe or a log


@dataclass(frozen=True)
class ProbeResult:
    """What one probe reached in one setting.

    Attributes:
        probe: "logistic", "linear", "mlp", "knn10", "finetune".
        setting: what sets this result apart from others of the same probe (`{"shots": 5}`); often nothing.
        seeds: of whatever is random; empty where nothing is.
        chosen: what was chosen without the test clips (`{"C": 0.1}`), for each seed (once where there is none)
            and round; empty where nothing is chosen.
        tests: for each round, the indices of the clips tested, into the task's clips.
        scores: for each seed and round, (N_test, C) float32 logits: their softmax (their sigmoid where a clip
            may have several labels) are the probabilities.
        targets: for each round, (N_test, C) bool.
        metrics: by name, the task's own first.
    """

    probe: str
    setting: dict[str, Any]
    seeds: tuple[int, ...]
    chosen: list[list[dict[str, Any]]]
    tests: list[list[int]]
    scores: list[list[np.ndarray]]
    targets: list[np.ndarray]
    metrics: dict[str, Score] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The probe and its setting in a few words: "logistic, shots 5"."""
        return ", ".join([self.probe, *(f"{key} {value}" for key, value in self.setting.items())])


class EvaluationProtocol(Protocol):
    """A way to turn embeddings (or a network) into scores; a frozen dataclass of its settings."""

    @property
    def name(self) -> str:
        """What it is called on the command line and in score rows."""

    @property
    def needs_network(self) -> bool:
        """Whether it trains the network itself, so that statistics of log-mels cannot take part."""

    def run(self, task: Task, source: EmbeddingSource, device: str, progress: bool | None) -> list[ProbeResult]:
        """Score what `source` embeds on the task, the main result first.

        Test clips and their labels take part in nothing but the final score.

        Args:
            device: where probes are fitted.
            progress: as `byol_a.progress.Progress` takes it.
        """


@contextmanager
def fitting(doing: str, total: int, progress: bool | None, unit: str = "fit") -> Iterator[Progress]:
    """Progress over fits; in a pipe or a log, a few quick ones are not worth a line."""
    began = time.monotonic()
    with Progress(doing, total, unit, progress) as bar:
        yield bar
        if time.monotonic() - began < LASTING_SECONDS:
            bar.enabled = False  # no closing line; a bar in a terminal stays as it is


def scored(
    task: Task,
    probe: str,
    tests: list[list[int]],
    scores: list[list[np.ndarray]],
    *,
    seeds: Sequence[int] = (),
    chosen: list[list[dict[str, Any]]] | None = None,
    setting: dict[str, Any] | None = None,
    resamples: int = RESAMPLES,
) -> ProbeResult:
    """A result with its metrics: the task's own and those that stand beside them in score rows."""
    every = one_hot(task)
    targets = [every[test] for test in tests]
    metrics = {
        name: score_folds(METRICS[name], scores, targets, task.classes, resamples)
        for name in metrics_beside(task.metrics, task.multi_label)
    }
    return ProbeResult(probe, setting or {}, tuple(seeds), chosen or [], tests, scores, targets, metrics)


def validation_value(task: Task, scores: np.ndarray, targets: np.ndarray) -> float:
    """What validation clips say of logits (n, C): the task's own metric, of which higher is better.

    The worst there is, -inf, where no clip can tell or a logit is not finite.
    """
    value = METRICS[task.metrics[0]](scores, targets, task.classes, np.ones((1, len(targets))))[0]
    return float(value) if np.isfinite(scores).all() and np.isfinite(value) else -math.inf


def diverged(protocol: str, lr: float) -> ByolaError:
    """The error that says that training went wrong from its first epoch on."""
    return ByolaError(f"protocol {protocol} diverged: no epoch gave finite scores; choose a smaller lr than {lr:g}")


def one_hot(task: Task) -> np.ndarray:
    """Targets (N, C) bool of the task's clips."""
    place = {name: column for column, name in enumerate(task.classes)}
    targets = np.zeros((len(task.clips), len(task.classes)), dtype=bool)
    for row, clip in enumerate(task.clips):
        targets[row, [place[label] for label in clip.labels]] = True
    return targets
