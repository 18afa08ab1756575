"""Label-fraction curves: what is left of the score when only some of the training clips are labelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from downstream.protocols.base import RESAMPLES, ProbeResult, fitting, one_hot, scored
from downstream.protocols.regularised import choose_C, refit
from downstream.protocols.rows import (
    StandardisedRows,
    places,
    require_labels,
    seeds_where_random,
    training_and_validation,
)
from downstream.protocols.settings import check_settings
from downstream.tasks.base import Round, Task

if TYPE_CHECKING:
    from downstream.features import EmbeddingSource

FEWEST_PER_CLASS = 2  # one to train on and one to choose C on


@dataclass(frozen=True)
class LabelFractionProtocol:
    """The default protocol's logistic regression on a part of the training clips.

    Each fraction is drawn from each class alike, at least two clips of each; the fractions of one seed are
    nested. Validation clips are the set's own, cut down to the same fraction, or are held out of the drawn
    ones. Embeddings are standardised on all training clips, whose labels that takes no part of.

    Attributes:
        fractions: of the training clips, within 0 and 1.
        seeds: each draws other clips; at fraction 1 only what is held out differs, and with a validation part of
            the set's own nothing: one fit, without a seed.
    """

    name: ClassVar[str] = "label-fraction"
    needs_network: ClassVar[bool] = False
    fractions: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)
    C_grid: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    seeds: tuple[int, ...] = (0, 1, 2)
    valid_fraction: float = 0.1
    resamples: int = RESAMPLES

    def __post_init__(self) -> None:
        check_settings(self)

    def run(self, task: Task, source: EmbeddingSource, device: str, progress: bool | None) -> list[ProbeResult]:
        """See `EvaluationProtocol.run`; one result for each fraction, the largest first."""
        embeddings, rounds, targets = source.matrix(), task.rounds(), one_hot(task)
        require_labels(task, rounds, targets)
        seeds_of = {
            fraction: self.seeds if fraction < 1 else seeds_where_random(rounds, self.seeds)
            for fraction in self.fractions
        }
        rows_of = [StandardisedRows(embeddings, part.train + part.valid) for part in rounds]
        results = []
        with fitting(
            "label fractions", len(rounds) * sum(len(seeds) or 1 for seeds in seeds_of.values()), progress
        ) as bar:
            for fraction in sorted(seeds_of, reverse=True):
                draws = seeds_of[fraction] or (0,)  # where nothing is random, the number plays no part
                logits: list[list[np.ndarray]] = [[] for _ in draws]
                chosen: list[list[dict[str, Any]]] = [[] for _ in draws]
                for part, rows in zip(rounds, rows_of, strict=True):
                    for place, seed in enumerate(draws):
                        few = draw_fraction(part, targets, fraction, seed)
                        train, valid = training_and_validation(task, few, seed, self.valid_fraction)
                        fitted = few.train + few.valid
                        inputs, of_fitted = rows[fitted], targets[fitted]
                        draw = (places(fitted, train), places(fitted, valid))
                        (C,) = choose_C(task, inputs, of_fitted, [draw], self.C_grid, device)
                        logits[place].append(refit(task, inputs, of_fitted, rows[few.test], [C], device)[C])
                        chosen[place].append({"C": C, "train_clips": len(few.train) + len(few.valid)})
                        bar.advance()
                results.append(
                    scored(
                        task,
                        "logistic",
                        [part.test for part in rounds],
                        logits,
                        seeds=seeds_of[fraction],
                        chosen=chosen,
                        setting={"fraction": fraction},
                        resamples=self.resamples,
                    )
                )
        return results


def draw_fraction(part: Round, targets: np.ndarray, fraction: float, seed: int) -> Round:
    """The round with a fraction of its training clips and of its validation clips, of each class alike."""
    if fraction == 1:
        return part

    def drawn(indices: list[int]) -> list[int]:
        if not indices:
            return []
        rng, clips = np.random.default_rng(seed), np.asarray(indices)
        order = rng.permutation(clips)
        mine = targets[order]
        wanted = np.maximum(np.round(fraction * mine.sum(axis=0)), FEWEST_PER_CLASS)
        kept = ((mine.cumsum(axis=0) <= wanted) & mine).any(axis=1)
        return np.sort(order[kept]).tolist()

    return part._replace(train=drawn(part.train), valid=drawn(part.valid))
