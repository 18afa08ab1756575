"""Few-shot classification: k labelled clips of each class, drawn many times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from downstream.probes import logistic_path
from downstream.protocols.base import RESAMPLES, ProbeResult, fitting, one_hot, scored
from downstream.protocols.rows import StandardisedRows, require_labels
from downstream.protocols.settings import check_settings
from downstream.tasks.base import Task

if TYPE_CHECKING:
    from downstream.features import EmbeddingSource


@dataclass(frozen=True)
class FewShotProtocol:
    """Logistic regression on k clips of each class, for several k, each drawn `repeats` times.

    Embeddings are standardised on all training clips, whose labels that takes no part of. There is nothing to
    choose C on, so it is fixed. Where a clip may have several labels, k clips of each class are drawn and
    whatever else they hold counts too, so that a class may have more than k.

    Attributes:
        shots: the k; a class with fewer training clips gives all it has.
        repeats: draws of each.
        C: of the regression, as in scikit-learn.
        seed: of the first draw; the next ones have the numbers that follow.
    """

    name: ClassVar[str] = "few-shot"
    needs_network: ClassVar[bool] = False
    shots: tuple[int, ...] = (1, 2, 5, 10, 20)
    repeats: int = 10
    C: float = 1.0
    seed: int = 0
    resamples: int = RESAMPLES

    def __post_init__(self) -> None:
        check_settings(self)

    def run(self, task: Task, source: EmbeddingSource, device: str, progress: bool | None) -> list[ProbeResult]:
        """See `EvaluationProtocol.run`; one result for each k, the largest first."""
        embeddings, rounds, targets = source.matrix(), task.rounds(), one_hot(task)
        require_labels(task, rounds, targets)
        seeds = tuple(range(self.seed, self.seed + self.repeats))
        results = []
        rows_of = [StandardisedRows(embeddings, part.train + part.valid) for part in rounds]
        with fitting("few-shot", len(self.shots) * len(rounds) * len(seeds), progress) as bar:
            for k in sorted(self.shots, reverse=True):
                logits: list[list[np.ndarray]] = [[] for _ in seeds]
                for number, (part, rows) in enumerate(zip(rounds, rows_of, strict=True)):
                    tested = rows[part.test]
                    for place, seed in enumerate(seeds):
                        rng = np.random.default_rng((seed, number))
                        support = draw_shots(targets, np.asarray(part.train), k, rng)
                        (probe,) = logistic_path(rows[support], targets[support], [self.C], task.multi_label, device)
                        logits[place].append(probe.scores(tested))
                        bar.advance()
                tests = [part.test for part in rounds]
                results.append(
                    scored(
                        task,
                        "logistic",
                        tests,
                        logits,
                        seeds=seeds,
                        setting={"shots": k},
                        resamples=self.resamples,
                    )
                )
        return results


def draw_shots(targets: np.ndarray, train: np.ndarray, k: int, rng: np.random.Generator) -> list[int]:
    """Indices of k of the clips `train` of each class, in order; draws of fewer clips are part of those of more.

    Args:
        targets: (N, C) bool of all clips.
    """
    # One order of all clips: the first k of each class are also among the first k + 1.
    order = rng.permutation(train)
    mine = targets[order]
    among_first = (mine.cumsum(axis=0) <= k) & mine
    return np.sort(order[among_first.any(axis=1)]).tolist()
