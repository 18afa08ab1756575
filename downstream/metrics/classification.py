"""Metrics of the one class that is predicted for each clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from byol_a.errors import UsageError
from downstream.metrics.weighing import mean_known, segment_sums, weighted_mean


def hits(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Whether (N,) each clip's highest score is of a label that it has."""
    return np.asarray(targets[np.arange(len(targets)), scores.argmax(axis=1)])


def accuracy(scores: np.ndarray, targets: np.ndarray, classes: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """Share of the clips whose highest score is their label's."""
    return weighted_mean(weights, hits(scores, targets))


def balanced_accuracy(
    scores: np.ndarray, targets: np.ndarray, classes: Sequence[str], weights: np.ndarray
) -> np.ndarray:
    """Mean over classes of the share of a class's clips that are recognised; classes without clips are left out."""
    segments = 2 * targets.argmax(axis=1) + hits(scores, targets)
    sums = segment_sums(segments[:, None], 2 * targets.shape[1], np.ascontiguousarray(weights.T))
    missed, right = sums[::2].astype(float), sums[1::2].astype(float)
    present = missed + right
    recalls = np.divide(right, present, out=np.full(present.shape, np.nan), where=present > 0)
    return mean_known(recalls.T)


def chroma_accuracy(scores: np.ndarray, targets: np.ndarray, classes: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """Share of the clips whose pitch is right up to octaves; the classes are MIDI numbers.

    Raises:
        UsageError: for a class that is none.
    """
    chroma = np.asarray([_midi_number(name) % 12 for name in classes])
    return weighted_mean(weights, chroma[scores.argmax(axis=1)] == chroma[targets.argmax(axis=1)])


def _midi_number(name: str) -> int:
    try:
        return int(name)
    except ValueError:
        raise UsageError(f"chroma_accuracy needs classes that are MIDI numbers, and one is {name!r}") from None


def confusion(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Counts (C, C): row, the true class; column, the predicted one."""
    n_classes = targets.shape[1]
    cells = targets.argmax(axis=1) * n_classes + scores.argmax(axis=1)
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)


def precision_recall_f1(counts: np.ndarray) -> np.ndarray:
    """Precision, recall and F1 (3, C) of a confusion matrix; 0 where there is nothing to divide by."""
    right = np.diag(counts).astype(float)
    predicted, present = counts.sum(axis=0), counts.sum(axis=1)
    precision = np.divide(right, predicted, out=np.zeros_like(right), where=predicted > 0)
    recall = np.divide(right, present, out=np.zeros_like(right), where=present > 0)
    total = predicted + present
    return np.stack([precision, recall, np.divide(2 * right, total, out=np.zeros_like(right), where=total > 0)])
