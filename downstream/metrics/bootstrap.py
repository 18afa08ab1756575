"""A score over folds and seeds, with what other test clips would have done to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from downstream.metrics.catalogue import bounds
from downstream.metrics.weighing import Metric, mean_known

WEIGHTS_AT_ONCE = 16_000_000  # 64 MB of float32, whatever the size of the test part


@dataclass(frozen=True)
class Score:
    """A score with its bootstrap 95 % interval; `fold_scores` are means over seeds, `std` is over seeds.

    NaN where no test clip could tell (average precision without a positive clip).
    """

    value: float
    low: float
    high: float
    fold_scores: tuple[float, ...]
    std: float | None


def score_folds(
    metric: Metric,
    scores: Sequence[Sequence[np.ndarray]],
    targets: Sequence[np.ndarray],
    classes: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
) -> Score:
    """The mean over folds of a metric, averaged over seeds, with an interval from resampled test clips.

    The bootstrap draws the clips of each fold with replacement, the same draw for every seed. The interval says
    what other test clips, as many, would do to the score, not what other training clips would.

    Args:
        scores: for each seed and fold, (N_fold, C).
        targets: for each fold, (N_fold, C) bool.
    """
    plain = plain_scores(metric, scores, targets, classes)
    of_seeds = mean_known(plain)
    value = float(of_seeds.mean())
    drawn = mean_known(resampled_scores(metric, scores, targets, classes, resamples, seed))
    low, high = interval(drawn, around=value)
    low, high = np.clip((low, high), *bounds(metric)).tolist()
    return Score(
        value=value,
        low=low,
        high=high,
        fold_scores=tuple(float(value) for value in plain.mean(axis=0)),
        std=float(of_seeds.std(ddof=1)) if len(scores) > 1 else None,
    )


def plain_scores(
    metric: Metric, scores: Sequence[Sequence[np.ndarray]], targets: Sequence[np.ndarray], classes: Sequence[str]
) -> np.ndarray:
    """The metric (seeds, folds) of all clips of each fold, each counted once."""
    values = np.zeros((len(scores), len(targets)))
    for fold, target in enumerate(targets):
        once = np.ones((1, len(target)))
        values[:, fold] = [metric(of_seed[fold], target, classes, once)[0] for of_seed in scores]
    return values


def resampled_scores(
    metric: Metric,
    scores: Sequence[Sequence[np.ndarray]],
    targets: Sequence[np.ndarray],
    classes: Sequence[str],
    resamples: int,
    seed: int,
) -> np.ndarray:
    """The metric (resamples, folds), averaged over seeds, of clips drawn with replacement.

    The draws are a function of `seed` and the folds' sizes: two models meet the same clips.
    """
    rng = np.random.default_rng(seed)
    values = np.zeros((resamples, len(targets)))
    for fold, target in enumerate(targets):
        for block in blocks(resamples, len(target)):
            weights = _draws(rng, len(target), block.stop - block.start)
            of_seeds = [metric(of_seed[fold], target, classes, weights) for of_seed in scores]
            values[block, fold] = np.mean(of_seeds, axis=0)
    return values


def interval(drawn: np.ndarray, around: float) -> tuple[float, float]:
    """95 % of what was drawn (its 2.5 and 97.5 % quantiles), shifted so that its mean is `around`.

    Clips that are drawn twice tie with themselves, which raises average precision and calibration errors: of
    rare classes so much that the score itself would lie outside. Only the spread is to be learned from draws;
    means like accuracy are hardly shifted at all. NaN are left out.
    """
    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, (0.025, 0.975)) - known.mean() + around
    return float(low), float(high)


def blocks(rows: int, columns: int) -> list[slice]:
    """Slices of so many rows that a float32 matrix of them stays below 64 MB."""
    step = max(1, WEIGHTS_AT_ONCE // max(columns, 1))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _draws(rng: np.random.Generator, n_clips: int, resamples: int) -> np.ndarray:
    """How often (resamples, n_clips) each clip is drawn; float32, in which counts and their sums are exact."""
    counts = np.empty((resamples, n_clips), dtype=np.float32)
    for row in counts:
        row[:] = np.bincount(rng.integers(0, n_clips, n_clips), minlength=n_clips)
    return counts
