"""Metrics of single-label predictions against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as reference

from byol_a.errors import UsageError
from downstream.metrics import (
    METRICS,
    accuracy,
    balanced_accuracy,
    chroma_accuracy,
    confusion,
    precision_recall_f1,
)
from tests.downstream.metrics.made import CLASSES, one_label


def test_accuracies_equal_sklearn() -> None:
    scores, targets = one_label()
    true, predicted = targets.argmax(1), scores.argmax(1)
    weights = np.random.default_rng(2).integers(0, 3, (4, len(scores))).astype(np.float32)
    weights[3] *= true != 4  # no clip of a class counts
    expected = [reference.accuracy_score(true, predicted, sample_weight=w) for w in weights]
    np.testing.assert_allclose(accuracy(scores, targets, CLASSES, weights), expected, rtol=1e-12)
    # By classes that occur: of scikit-learn's balanced accuracy, without its warning.
    expected = [
        reference.recall_score(true, predicted, labels=np.unique(true[w > 0]), average="macro", sample_weight=w)
        for w in weights
    ]
    np.testing.assert_allclose(balanced_accuracy(scores, targets, CLASSES, weights), expected, rtol=1e-12)


def test_confusion_and_class_scores_equal_sklearn() -> None:
    scores, targets = one_label()
    true, predicted = targets.argmax(1), scores.argmax(1)
    counts = confusion(scores, targets)
    np.testing.assert_array_equal(counts, reference.confusion_matrix(true, predicted))
    wanted = reference.precision_recall_fscore_support(true, predicted, zero_division=0)[:3]
    np.testing.assert_allclose(precision_recall_f1(counts), wanted)


def test_chroma_forgives_octaves_only() -> None:
    classes, once = ["60", "61", "72"], np.ones((1, 3))
    scores, targets = np.eye(3)[[2, 1, 0]], np.eye(3, dtype=bool)[[0, 0, 2]]
    assert chroma_accuracy(scores, targets, classes, once)[0] == pytest.approx(2 / 3)
    assert METRICS["pitch_accuracy"](scores, targets, classes, once)[0] == 0
    with pytest.raises(UsageError, match="MIDI numbers, and one is 'c sharp'"):
        chroma_accuracy(scores, targets, ["60", "c sharp", "72"], once)
