"""P-values of two models' difference on the same clips, and their correction for many comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from downstream.metrics.bootstrap import blocks
from downstream.metrics.classification import hits
from downstream.metrics.ranking import auc_roc, d_prime, macro_map, ranks
from downstream.metrics.weighing import Metric, mean_known

# They rank clips, and logits of two models need not be on the same scale: their ranks are.
RANKING_CLIPS: tuple[Metric, ...] = (macro_map, auc_roc, d_prime)
ROUNDING = 1e-9  # by which differences that are equal may differ, from the order of their sums


def mcnemar_test(
    scores_a: Sequence[np.ndarray], scores_b: Sequence[np.ndarray], targets: Sequence[np.ndarray]
) -> float:
    """Two-sided exact p-value of the clips, of all folds together, that only one of two models gets right.

    Args:
        scores_a: for each fold, (N_fold, C).
    """
    from scipy.stats import binom

    right_a, right_b = (
        np.concatenate([hits(of_fold, target) for of_fold, target in zip(scores, targets, strict=True)])
        for scores in (scores_a, scores_b)
    )
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return min(1.0, 2 * float(binom.cdf(min(only_a, only_b), only_a + only_b, 0.5)))


def permutation_test(
    metric: Metric,
    scores_a: Sequence[Sequence[np.ndarray]],
    scores_b: Sequence[Sequence[np.ndarray]],
    targets: Sequence[np.ndarray],
    classes: Sequence[str],
    permutations: int = 1000,
    seed: int = 0,
) -> float:
    """Two-sided p-value by swapping the models' predictions of each clip, those of all seeds together, by a coin.

    If the models were alike that would change nothing (Noreen 1989; Yeh 2000, arXiv cs/0008005). Metrics that
    rank clips see each model's ranks within a fold, so that mixing models mixes no scales.

    Args:
        scores_a: for each seed and fold, (N_fold, C).
        scores_b: the same of the other model; it may have another number of seeds.
    """
    rng = np.random.default_rng(seed)
    # Of 2 and 3 seeds, each of one model meets each of the other once.
    n_pairs = math.lcm(len(scores_a), len(scores_b))
    comparable = ranks if metric in RANKING_CLIPS else np.asarray
    observed = np.zeros(len(targets))
    swapped = np.zeros((permutations, len(targets)))
    for fold, target in enumerate(targets):
        of_a, of_b = ([comparable(of_seed[fold]) for of_seed in scores] for scores in (scores_a, scores_b))
        # Both models' predictions below one another: which of them count is a matter of weights.
        pairs = [np.concatenate([of_a[i % len(of_a)], of_b[i % len(of_b)]]) for i in range(n_pairs)]
        twice = np.concatenate([target, target])
        unswapped = np.ones((1, len(target)), dtype=bool)
        observed[fold] = _differences(metric, pairs, twice, classes, unswapped)[0]
        for block in blocks(permutations, 4 * len(target)):
            kept = rng.random((block.stop - block.start, len(target)), dtype=np.float32) < 0.5
            swapped[block, fold] = _differences(metric, pairs, twice, classes, kept)
    return _two_sided(float(mean_known(observed)), mean_known(swapped))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for being many (Holm 1979), never smaller than they were.

    Where nothing differs, the smallest of them is below 0.05 in at most one such family of comparisons in
    twenty. Those that are NaN stay NaN and count as no comparison.
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    adjusted, highest = [math.nan] * len(p_values), 0.0
    for place, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - place) * p))
        adjusted[index] = highest
    return adjusted


def _differences(
    metric: Metric, pairs: Sequence[np.ndarray], twice: np.ndarray, classes: Sequence[str], kept: np.ndarray
) -> np.ndarray:
    """The first model's metric less the second's (R,), where `kept` (R, N) says which clips are not swapped."""
    as_a = np.concatenate([kept, ~kept], axis=1)
    weights = np.concatenate([as_a, ~as_a]).astype(np.float32)
    values = np.mean([metric(scores, twice, classes, weights) for scores in pairs], axis=0)
    return np.asarray(values[: len(kept)] - values[len(kept) :])


def _two_sided(difference: float, swapped: np.ndarray) -> float:
    known = swapped[~np.isnan(swapped)]
    if math.isnan(difference) or not len(known):
        return math.nan
    # What was observed is one of the permutations (Phipson & Smyth 2010): p is never 0.
    return float((1 + (np.abs(known) >= abs(difference) - ROUNDING).sum()) / (1 + len(known)))
