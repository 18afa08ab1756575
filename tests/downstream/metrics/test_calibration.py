"""Calibration against plain loops, scikit-learn and cases that are known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import sklearn.metrics as reference

from downstream.metrics import METRICS, binary_brier, binary_ece, bins_of, brier, ece, sigmoid, softmax
from tests.downstream.metrics.made import CLASSES, many_labels, one_label


def ece_by_definition(confidence: np.ndarray, right: np.ndarray, weights: np.ndarray) -> float:
    """Guo et al. 2017, equations 2 to 5, bin by bin."""
    total, weights = 0.0, weights.astype(float)
    for m in range(15):
        inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if weights[inside].sum() > 0:
            gap = np.average(right[inside], weights=weights[inside]) - np.average(
                confidence[inside], weights=weights[inside]
            )
            total += weights[inside].sum() / weights.sum() * abs(gap)
    return total


def test_probabilities_equal_scipy_also_where_they_are_extreme() -> None:
    logits = np.concatenate([np.random.default_rng(0).normal(size=(20, 6)), np.full((2, 6), -1e4), np.eye(6) * 1e4])
    np.testing.assert_allclose(softmax(logits), scipy.special.softmax(logits, axis=1), atol=1e-15)
    np.testing.assert_allclose(sigmoid(logits), scipy.special.expit(logits), atol=1e-15)


def test_ece_is_its_definition() -> None:
    scores, targets = one_label(500)
    weights = np.random.default_rng(2).integers(0, 3, (4, 500)).astype(np.float32)
    probabilities = scipy.special.softmax(scores, axis=1)
    right = probabilities.argmax(1) == targets.argmax(1)
    expected = [ece_by_definition(probabilities.max(1), right, w) for w in weights]
    np.testing.assert_allclose(ece(scores, targets, CLASSES, weights), expected, rtol=1e-9)


def test_binary_ece_is_its_definition_over_all_labels() -> None:
    (scores,), targets = many_labels(200)
    weights = np.random.default_rng(2).integers(0, 3, (4, 200)).astype(np.float32)
    probabilities = scipy.special.expit(scores)
    expected = [ece_by_definition(probabilities.ravel(), targets.ravel(), np.repeat(w, 6)) for w in weights]
    np.testing.assert_allclose(binary_ece(scores, targets, CLASSES, weights), expected, rtol=1e-9)


def test_ece_is_near_zero_where_probabilities_are_true_and_one_where_they_are_surely_false() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(50_000, 3))
    drawn = (softmax(scores).cumsum(axis=1) > rng.random((50_000, 1))).argmax(axis=1)
    once = np.ones((1, 50_000))
    assert ece(scores, np.eye(3, dtype=bool)[drawn], ["a", "b", "c"], once)[0] < 0.01
    labels = rng.random(scores.shape) < sigmoid(scores)
    assert binary_ece(scores, labels, ["a", "b", "c"], once)[0] < 0.01
    sure = 100.0 * np.eye(2)[[0, 0]]
    assert ece(sure, np.eye(2, dtype=bool)[[1, 1]], ["a", "b"], np.ones((1, 2)))[0] == pytest.approx(1)


def test_brier_equals_sklearn() -> None:
    scores, targets = one_label()
    weights = np.random.default_rng(2).integers(0, 3, (4, 300)).astype(np.float32)
    probabilities = scipy.special.softmax(scores, axis=1)
    # scikit-learn has it for two classes: the sum over classes is of one against the rest each.
    expected = [
        sum(reference.brier_score_loss(targets[:, c], probabilities[:, c], sample_weight=w) for c in range(6))
        for w in weights
    ]
    np.testing.assert_allclose(brier(scores, targets, CLASSES, weights), expected, rtol=1e-9)
    (scores,), labels = many_labels()
    expected = [
        np.mean([reference.brier_score_loss(labels[:, c], scipy.special.expit(scores[:, c])) for c in range(6)])
    ]
    np.testing.assert_allclose(binary_brier(scores, labels, CLASSES, np.ones((1, 80))), expected, rtol=1e-9)


def test_a_bin_holds_its_upper_bound() -> None:
    np.testing.assert_array_equal(bins_of(np.array([0.0, 1e-9, 1 / 15, 0.07, 1.0])), [0, 0, 0, 1, 14])


@pytest.mark.parametrize("name", ["ece", "brier", "binary_ece", "binary_brier"])
def test_the_worst_prediction_is_finite(name: str) -> None:
    targets = np.eye(2, dtype=bool)[[0, 1]]
    value = METRICS[name](np.where(targets, -1e4, 1e4), targets, ["a", "b"], np.ones((1, 2)))[0]
    assert value == pytest.approx(2 if name == "brier" else 1)
