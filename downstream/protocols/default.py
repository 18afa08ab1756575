"""The default protocol: whole clips, logistic regression with C chosen without the test clips, and neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from downstream.probes import KNNProbe
from downstream.protocols.base import RESAMPLES, ProbeResult, fitting, one_hot, scored
from downstream.protocols.regularised import choose_C, refit
from downstream.protocols.rows import StandardisedRows, places, seeds_where_random, training_and_validation
from downstream.protocols.settings import check_settings
from downstream.tasks.base import Task

if TYPE_CHECKING:
    from downstream.features import EmbeddingSource


@dataclass(frozen=True)
class DefaultProtocol:
    """Logistic regression with C chosen without the test clips, and k nearest neighbours.

    Embeddings of whole clips are standardised on all clips of a round that are not its test clips.

    Attributes:
        C_grid: what C is chosen from, increasing.
        seeds: each draws another validation part, where the set has none of its own.
        valid_fraction: of the training clips, at least one group where groups are known.
        k: neighbours.
        resamples: of the bootstrap.
    """

    name: ClassVar[str] = "default"
    needs_network: ClassVar[bool] = False
    C_grid: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    seeds: tuple[int, ...] = (0, 1, 2)
    valid_fraction: float = 0.1
    k: int = 10
    resamples: int = RESAMPLES

    def __post_init__(self) -> None:
        check_settings(self)

    def run(self, task: Task, source: EmbeddingSource, device: str, progress: bool | None) -> list[ProbeResult]:
        """See `EvaluationProtocol.run`; the logistic regression first."""
        return self.score(task, source.matrix(), device, progress)

    def score(self, task: Task, embeddings: np.ndarray, device: str, progress: bool | None) -> list[ProbeResult]:
        """Score embeddings (N, D), one row per clip of the task."""
        rounds, targets = task.rounds(), one_hot(task)
        seeds = seeds_where_random(rounds, self.seeds)
        draws = seeds or (0,)  # with a validation part of the set's own, the number plays no part
        logits: list[list[np.ndarray]] = [[] for _ in draws]
        chosen: list[list[dict[str, Any]]] = [[] for _ in draws]
        votes: list[np.ndarray] = []
        with fitting("fitting probes", len(rounds) * (len(draws) + 2), progress) as bar:
            for part in rounds:
                fitted = part.train + part.valid
                rows = StandardisedRows(embeddings, fitted)
                inputs, of_fitted, tested = rows[fitted], targets[fitted], rows[part.test]
                parts = [training_and_validation(task, part, seed, self.valid_fraction) for seed in draws]
                drawn = [(places(fitted, train), places(fitted, valid)) for train, valid in parts]
                of_seeds = choose_C(task, inputs, of_fitted, drawn, self.C_grid, device)
                bar.advance(len(draws))
                by_C = refit(task, inputs, of_fitted, tested, of_seeds, device)
                for place, C in enumerate(of_seeds):
                    logits[place].append(by_C[C])
                    chosen[place].append({"C": C})
                bar.advance()
                votes.append(KNNProbe(inputs, of_fitted, self.k, device, task.multi_label).scores(tested))
                bar.advance()
        tests = [part.test for part in rounds]
        return [
            scored(task, "logistic", tests, logits, seeds=seeds, chosen=chosen, resamples=self.resamples),
            scored(task, f"knn{self.k}", tests, [votes], resamples=self.resamples),
        ]
