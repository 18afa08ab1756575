"""Whether probabilities mean what they say: expected calibration error and Brier score.

Single-label metrics take the softmax of the scores, those named `binary_...` (several labels a clip) the sigmoid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from downstream.metrics.classification import hits
from downstream.metrics.weighing import weighted_mean

BINS = 15


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities (N, C) float64 of logits."""
    powers = np.exp(scores.astype(float) - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """Probabilities (N, C) float64 of logits."""
    # By tanh nothing overflows, however large the logit.
    return np.asarray((1 + np.tanh(scores.astype(float) / 2)) / 2)


def ece(scores: np.ndarray, targets: np.ndarray, classes: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """Expected calibration error of the predicted class (Guo et al. 2017, arXiv 1706.04599).

    Clips fall into 15 equal bins by the probability of their highest score; the mean over clips of how far a
    bin's accuracy is from its mean probability, within 0 and 1.
    """
    confidence = softmax(scores).max(axis=1)[:, None]
    return _gap(confidence, hits(scores, targets)[:, None], weights)


def binary_ece(scores: np.ndarray, targets: np.ndarray, classes: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """Expected calibration error of every label of every clip, all in the same 15 bins, within 0 and 1.

    A bin's share of labels that are there stands against its mean probability. Where labels are rare, most
    pairs of a clip and a label are easy, and the value is small for any model.
    """
    return _gap(sigmoid(scores), targets, weights)


def brier(scores: np.ndarray, targets: np.ndarray, classes: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """Brier score (Brier 1950): mean over clips of the sum over classes of the squared error, within 0 and 2."""
    return weighted_mean(weights, ((softmax(scores) - targets) ** 2).sum(axis=1))


def binary_brier(scores: np.ndarray, targets: np.ndarray, classes: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """Brier score of labels: mean over clips and labels of the squared error, within 0 and 1."""
    return weighted_mean(weights, ((sigmoid(scores) - targets) ** 2).mean(axis=1))


def bins_of(probabilities: np.ndarray) -> np.ndarray:
    """The bin 0 to 14 of each probability; a bin holds its upper bound, and the first one 0 as well."""
    return np.clip(np.ceil(probabilities * BINS).astype(int) - 1, 0, BINS - 1)


def _gap(probabilities: np.ndarray, outcomes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error (R,) of probabilities and outcomes (N, K), of which each clip has K."""
    n_clips, each = probabilities.shape
    cells = np.arange(n_clips)[:, None] * BINS + bins_of(probabilities)
    # What each clip adds to each bin, so that resamples of clips are one product.
    excess = np.bincount(cells.ravel(), (outcomes - probabilities).ravel(), minlength=n_clips * BINS)
    return np.asarray(
        np.abs(weights @ excess.reshape(n_clips, BINS)).sum(axis=1) / (weights.sum(axis=1, dtype=float) * each)
    )
