"""Metrics of the order in which scores put clips (per class) or labels (per clip)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from downstream.metrics.weighing import mean_known, segment_sums

CLASSES_AT_ONCE = 8  # each row of weights is read once for all of them
TALLIES_AT_ONCE = 4_000_000  # but no more sums than this at once (16 MB), unless one class has more
COMPARED_AT_ONCE = 4_000_000  # scores, in lwlrap


def macro_map(scores: np.ndarray, targets: np.ndarray, classes: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """Mean over classes of the average precision; classes without a positive clip are left out."""
    return mean_known(average_precisions(scores, targets, weights))


def average_precisions(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision (R, C) of each class; NaN where a class has no positive clip."""
    values = np.full((targets.shape[1], len(weights)), np.nan)
    for tally in _tallies(scores, targets, weights):
        found, retrieved = _at_or_above(tally.positives), _at_or_above(tally.positives + tally.negatives)
        retrieved += _strictly_above(tally.between)
        precision = found / np.maximum(retrieved, 1e-12)
        np.divide((tally.positives * precision).sum(axis=0), found[0], out=values[tally.column], where=found[0] > 0)
    return values.T


def auc_roc(scores: np.ndarray, targets: np.ndarray, classes: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """Mean over classes of the area under the ROC curve; classes that all or no clips have are left out."""
    return mean_known(roc_areas(scores, targets, weights))


def roc_areas(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve (R, C) of each class; NaN where a class has no positive or no negative clip.

    It is the share of pairs of a positive and a negative clip that are in order, equal scores counting half.
    """
    values = np.full((targets.shape[1], len(weights)), np.nan)
    for tally in _tallies(scores, targets, weights):
        above = _strictly_above(tally.between) + _at_or_above(tally.negatives) - tally.negatives / 2
        n_positive = tally.positives.sum(axis=0)
        n_negative = tally.between.sum(axis=0) + tally.negatives.sum(axis=0)
        pairs = n_positive * n_negative
        reversed_pairs = (tally.positives * above).sum(axis=0)
        np.divide(pairs - reversed_pairs, pairs, out=values[tally.column], where=pairs > 0)
    return values.T


def d_prime(scores: np.ndarray, targets: np.ndarray, classes: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """`sqrt(2) z(AUC)`, AUC the mean over classes of the area under the ROC curve, z the normal quantile."""
    quantile = NormalDist().inv_cdf
    areas = np.clip(auc_roc(scores, targets, classes, weights), 1e-12, 1 - 1e-12)
    return np.asarray([np.sqrt(2) * quantile(area) if area == area else np.nan for area in areas])


def lwlrap(scores: np.ndarray, targets: np.ndarray, classes: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """Label-weighted label-ranking average precision: mean over all labels of the precision at their rank."""
    rows, columns = np.nonzero(targets)
    precision = np.zeros(len(rows))
    step = max(1, COMPARED_AT_ONCE // max(targets.shape[1], 1))
    for start in range(0, len(rows), step):
        row, column = rows[start : start + step], columns[start : start + step]
        ahead = scores[row] >= scores[row, column][:, None]  # (labels, C), the label itself among them
        precision[start : start + step] = (ahead & targets[row]).sum(axis=1) / ahead.sum(axis=1)
    total = np.bincount(rows, precision, minlength=len(targets))
    counted = weights @ targets.sum(axis=1)
    return np.divide(weights @ total, counted, out=np.full(len(weights), np.nan), where=counted > 0)


def ranks(scores: np.ndarray) -> np.ndarray:
    """Each score's rank (N, C) float32 in its column, equal scores sharing the mean of theirs.

    Every metric of this module that ranks clips says the same of ranks as of the scores.
    """
    from scipy.stats import rankdata

    return np.stack([rankdata(column) for column in scores.T], axis=1).astype(np.float32)


@dataclass(frozen=True)
class _Tally:
    """How many clips of each kind are where in a class's ranking, in each of R resamples.

    The K different scores of positive clips, from low to high, cut the ranking into the runs of clips that have
    such a score and what lies between.

    Attributes:
        positives: (K, R) positive clips at each cut.
        negatives: (K, R) negative clips of the very same score.
        between: (K + 1, R) the others, all negative: below the first cut, ..., above the last.
    """

    column: int
    positives: np.ndarray
    negatives: np.ndarray
    between: np.ndarray


def _tallies(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> Iterator[_Tally]:
    """Tallies of the classes that have positive clips.

    Only positive clips need their place in the ranking: for all others it is enough to count between which
    two of them they are, which is what makes a thousand resamples of 527 classes affordable.
    """
    clips_first = np.ascontiguousarray(weights.T)
    columns = np.flatnonzero(targets.any(axis=0))
    cuts = {column: np.unique(scores[targets[:, column], column]) for column in columns.tolist()}
    for group in _groups({column: (2 * len(values) + 1) * len(weights) for column, values in cuts.items()}):
        sizes = [2 * len(cuts[column]) + 1 for column in group]
        first = np.cumsum([0, *sizes])
        # Even segments lie between the cuts, odd ones are the cuts.
        places = [
            np.searchsorted(cuts[column], scores[:, column], "left")
            + np.searchsorted(cuts[column], scores[:, column], "right")
            for column in group
        ]
        sums = segment_sums(np.stack(places, axis=1) + first[:-1], int(first[-1]), clips_first)
        for column, place, begin, size in zip(group, places, first, sizes, strict=False):
            at_cuts = sums[begin + 1 : begin + size : 2].astype(float)
            mine = targets[:, column]
            positives = segment_sums(place[mine, None] // 2, size // 2, clips_first[mine]).astype(float)
            yield _Tally(column, positives, at_cuts - positives, sums[begin : begin + size : 2].astype(float))


def _groups(sizes: dict[int, int]) -> Iterator[list[int]]:
    """The keys in runs of few enough and small enough together."""
    group: list[int] = []
    for key, size in sizes.items():
        if group and (len(group) == CLASSES_AT_ONCE or sum(sizes[other] for other in group) + size > TALLIES_AT_ONCE):
            yield group
            group = []
        group.append(key)
    if group:
        yield group


def _at_or_above(counts: np.ndarray) -> np.ndarray:
    """For each of K cuts (rows, from low to high) the sum of its own row and those above."""
    return counts[::-1].cumsum(axis=0)[::-1]


def _strictly_above(between: np.ndarray) -> np.ndarray:
    """For each of K cuts the sum of those of K + 1 rows that lie above it."""
    return _at_or_above(between)[1:]
