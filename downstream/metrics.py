"""Scores of predictions, each with many re-weightings of the clips at once, which makes bootstraps cheap.

Every metric takes scores (N, C), targets (N, C) bool, the C class names, and weights (R, N), how often each
clip counts in each of R resamples; it gives R values. The plain score is the one with all weights 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

Metric = Callable[[np.ndarray, np.ndarray, Sequence[str], np.ndarray], np.ndarray]


def accuracy(scores: np.ndarray, targets: np.ndarray, classes: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """Share of the clips whose highest score is their label's."""
    correct = targets[np.arange(len(targets)), scores.argmax(axis=1)]
    return weights @ correct / weights.sum(axis=1)


def chroma_accuracy(scores: np.ndarray, targets: np.ndarray, classes: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """Share of the clips whose pitch is right up to octaves; the classes are MIDI numbers."""
    chroma = np.asarray([int(name) % 12 for name in classes])
    correct = chroma[scores.argmax(axis=1)] == chroma[targets.argmax(axis=1)]
    return weights @ correct / weights.sum(axis=1)


def macro_map(scores: np.ndarray, targets: np.ndarray, classes: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """Mean over classes of the average precision; classes without a positive clip are left out."""
    return _mean_known(average_precisions(scores, targets, weights))


def average_precisions(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision (R, C) of each class; NaN where a class has no positive clip."""
    values = np.full((len(weights), targets.shape[1]), np.nan)
    for column in range(targets.shape[1]):
        order, last = _ranking(-scores[:, column])
        counts = weights[:, order]
        hits = counts * targets[order, column]  # (R, N), best first
        precision = hits.cumsum(axis=1)[:, last] / np.maximum(counts.cumsum(axis=1)[:, last], 1e-12)
        positives = hits.sum(axis=1)
        np.divide((hits * precision).sum(axis=1), positives, out=values[:, column], where=positives > 0)
    return values


def d_prime(scores: np.ndarray, targets: np.ndarray, classes: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """`sqrt(2) z(AUC)`, AUC the mean over classes of the area under the ROC curve, z the normal quantile."""
    areas = np.full((len(weights), targets.shape[1]), np.nan)
    for column in range(targets.shape[1]):
        order, last = _ranking(scores[:, column])
        counts = weights[:, order]
        hits = counts * targets[order, column]  # (R, N), worst first
        misses = counts - hits
        # Negatives below a clip, those of the same score counting half.
        upto = misses.cumsum(axis=1)
        first = np.searchsorted(last, last)  # where each run of equal scores begins
        before = np.where(first > 0, upto[:, first - 1], 0.0)
        below = (before + upto[:, last]) / 2
        pairs = hits.sum(axis=1) * misses.sum(axis=1)
        np.divide((hits * below).sum(axis=1), pairs, out=areas[:, column], where=pairs > 0)
    quantile = NormalDist().inv_cdf
    clipped = np.clip(_mean_known(areas), 1e-12, 1 - 1e-12)
    return np.asarray([np.sqrt(2) * quantile(area) if area == area else np.nan for area in clipped])


def lwlrap(scores: np.ndarray, targets: np.ndarray, classes: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """Label-weighted label-ranking average precision: mean over all labels of the precision at their rank."""
    total, labels = np.zeros(len(targets)), targets.sum(axis=1)
    for row, (score, target) in enumerate(zip(scores, targets, strict=True)):
        wanted = score[target]
        above = (score[None, :] >= wanted[:, None]).sum(axis=1)
        right = (wanted[None, :] >= wanted[:, None]).sum(axis=1)
        total[row] = (right / above).sum()
    counted = weights @ labels
    return np.divide(weights @ total, counted, out=np.full(len(weights), np.nan), where=counted > 0)


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "chroma_accuracy": chroma_accuracy,
    "macro_map": macro_map,
    "d_prime": d_prime,
    "lwlrap": lwlrap,
}
# The others lie within 0 and 1.
UNBOUNDED_METRICS = frozenset({"d_prime"})


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

    The bootstrap draws the clips of each fold with replacement, the same draw for every seed, and takes the
    2.5 and 97.5 % quantiles: what other test clips would do to the score, not other training clips.

    Args:
        scores: for each seed and fold, (N_fold, C).
        targets: for each fold, (N_fold, C) bool.
    """
    rng = np.random.default_rng(seed)
    plain = np.zeros((len(scores), len(targets)))
    drawn = np.zeros((resamples, len(targets)))
    for fold, target in enumerate(targets):
        plain[:, fold] = [metric(of_seed[fold], target, classes, np.ones((1, len(target))))[0] for of_seed in scores]
        # About 16 MB of weights at once, whatever the size of the test part.
        step = max(1, 2_000_000 // len(target))
        for start in range(0, resamples, step):
            weights = _draws(rng, len(target), min(step, resamples - start))
            values = [metric(of_seed[fold], target, classes, weights) for of_seed in scores]
            drawn[start : start + step, fold] = np.mean(values, axis=0)
    means = _mean_known(drawn)
    known = means[~np.isnan(means)]
    low, high = np.quantile(known, (0.025, 0.975)) if len(known) else (np.nan, np.nan)
    return Score(
        value=float(_mean_known(plain).mean()),
        low=float(low),
        high=float(high),
        fold_scores=tuple(float(value) for value in plain.mean(axis=0)),
        std=float(_mean_known(plain).std(ddof=1)) if len(scores) > 1 else None,
    )


def confusion(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Counts (C, C): row, the true class; column, the predicted one."""
    n_classes = targets.shape[1]
    cells = targets.argmax(axis=1) * n_classes + scores.argmax(axis=1)
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)


def precision_recall_f1(counts: np.ndarray) -> np.ndarray:
    """Precision, recall and F1 (3, C) of a confusion matrix; 0 where there is nothing to divide by."""
    hits = np.diag(counts).astype(float)
    predicted, present = counts.sum(axis=0), counts.sum(axis=1)
    precision = np.divide(hits, predicted, out=np.zeros_like(hits), where=predicted > 0)
    recall = np.divide(hits, present, out=np.zeros_like(hits), where=present > 0)
    total = predicted + present
    return np.stack([precision, recall, np.divide(2 * hits, total, out=np.zeros_like(hits), where=total > 0)])


def _ranking(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ascending order of `values` (N,), and for each rank the last rank of an equal value."""
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    return order, np.searchsorted(ranked, ranked, side="right") - 1


def _draws(rng: np.random.Generator, n_clips: int, resamples: int) -> np.ndarray:
    picks = rng.integers(0, n_clips, (resamples, n_clips)) + n_clips * np.arange(resamples)[:, None]
    return np.bincount(picks.ravel(), minlength=resamples * n_clips).reshape(resamples, n_clips).astype(float)


def _mean_known(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN; NaN where nothing is known."""
    known = ~np.isnan(values)
    counts = known.sum(axis=-1)
    sums = np.where(known, values, 0.0).sum(axis=-1)
    return np.divide(sums, counts, out=np.full(np.shape(sums), np.nan), where=counts > 0)
