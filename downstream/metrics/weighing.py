"""What all metrics share: clips count as often as a weight says, for many sets of weights at once.

That makes bootstraps cheap: a resample of the clips is a row of weights, and predictions are ranked once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Metric = Callable[[np.ndarray, np.ndarray, Sequence[str], np.ndarray], np.ndarray]
"""`metric(scores, targets, classes, weights)` gives R values.

Scores (N, C) are logits: their softmax (their sigmoid where a clip may have several labels) are the
probabilities. Targets (N, C) are bool, `classes` names their C columns, and weights (R, N) say how often each
clip counts in each of R resamples. The plain score is the one with all weights 1. A value is NaN where no clip
that counts can tell (average precision without a positive clip).
"""


def weighted_mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means (R,) of `values` (N,) over the clips, each counted as weights (R, N) say."""
    return np.asarray(weights @ values / weights.sum(axis=1, dtype=float))


def segment_sums(segments: np.ndarray, n_segments: int, weights: np.ndarray) -> np.ndarray:
    """Sums (n_segments, R) of the weights of the clips in each segment, in the weights' own precision.

    Args:
        segments: (N, K) numbers of the K segments that each clip is in.
        weights: (N, R), contiguous: clips first, other than elsewhere.
    """
    from scipy import sparse

    n_clips, each = segments.shape
    # A matrix whose column for a clip holds ones at its segments: the product reads each row of weights once.
    starts = np.arange(0, n_clips * each + 1, each)
    ones = np.ones(segments.size, dtype=weights.dtype)
    members = sparse.csc_array((ones, segments.ravel(), starts), shape=(n_segments, n_clips))
    return np.asarray(members @ weights)


def mean_known(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN; NaN where nothing is known."""
    known = ~np.isnan(values)
    counts = known.sum(axis=-1)
    sums = np.where(known, values, 0.0).sum(axis=-1)
    return np.divide(sums, counts, out=np.full(np.shape(sums), np.nan), where=counts > 0)
