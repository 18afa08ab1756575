"""Metrics against scikit-learn, with ties and weights; bootstrap intervals against theory."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as reference

from downstream.metrics import (
    METRICS,
    accuracy,
    average_precisions,
    chroma_accuracy,
    confusion,
    d_prime,
    lwlrap,
    macro_map,
    precision_recall_f1,
    score_folds,
)

CLASSES = [str(i) for i in range(6)]


@pytest.fixture(params=["distinct", "tied"])
def multi_label(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = rng.random((80, 6)) < 0.3
    scores = rng.normal(size=(80, 6)) + targets
    if request.param == "tied":
        scores = np.round(scores)
    return scores, targets, rng.integers(0, 4, (3, 80)).astype(float)


def test_average_precision_equals_sklearn(multi_label: tuple[np.ndarray, ...]) -> None:
    scores, targets, weights = multi_label
    expected = [reference.average_precision_score(targets, scores, average=None, sample_weight=w) for w in weights]
    np.testing.assert_allclose(average_precisions(scores, targets, weights), expected, rtol=1e-12)
    np.testing.assert_allclose(macro_map(scores, targets, CLASSES, weights), np.mean(expected, axis=1), rtol=1e-12)


def test_d_prime_equals_sklearn_auc(multi_label: tuple[np.ndarray, ...]) -> None:
    from scipy.stats import norm

    scores, targets, weights = multi_label
    areas = [reference.roc_auc_score(targets, scores, sample_weight=w) for w in weights]
    np.testing.assert_allclose(d_prime(scores, targets, CLASSES, weights), np.sqrt(2) * norm.ppf(areas), rtol=1e-9)


def test_lwlrap_equals_sklearn(multi_label: tuple[np.ndarray, ...]) -> None:
    scores, targets, weights = multi_label
    some = targets.any(axis=1)  # scikit-learn gives a clip without labels the value 1; here it has no weight
    expected = [
        reference.label_ranking_average_precision_score(
            targets[some], scores[some], sample_weight=(w * targets.sum(axis=1))[some]
        )
        for w in weights
    ]
    np.testing.assert_allclose(lwlrap(scores, targets, CLASSES, weights), expected, rtol=1e-12)


def test_classes_without_positives_are_left_out() -> None:
    targets = np.array([[True, False], [False, False]])
    scores = np.array([[1.0, 0.0], [0.0, 1.0]])
    once = np.ones((1, 2))
    assert np.isnan(average_precisions(scores, targets, once)[0, 1])
    assert macro_map(scores, targets, ["a", "b"], once)[0] == 1
    nothing = np.zeros((2, 2), dtype=bool)
    assert all(
        np.isnan(METRICS[name](scores, nothing, ["a", "b"], once)[0]) for name in ("macro_map", "d_prime", "lwlrap")
    )


def one_label(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    targets = np.eye(6, dtype=bool)[rng.integers(0, 6, n)]
    return rng.normal(size=(n, 6)) + targets, targets


def test_accuracy_confusion_and_class_scores_equal_sklearn() -> None:
    scores, targets = one_label()
    true, predicted = targets.argmax(1), scores.argmax(1)
    weights = np.random.default_rng(2).integers(0, 3, (4, 300)).astype(float)
    expected = [reference.accuracy_score(true, predicted, sample_weight=w) for w in weights]
    np.testing.assert_allclose(accuracy(scores, targets, CLASSES, weights), expected)
    counts = confusion(scores, targets)
    np.testing.assert_array_equal(counts, reference.confusion_matrix(true, predicted))
    wanted = reference.precision_recall_fscore_support(true, predicted, zero_division=0)[:3]
    np.testing.assert_allclose(precision_recall_f1(counts), wanted)


def test_chroma_forgives_octaves_only() -> None:
    classes = ["60", "61", "72"]
    scores, targets = np.eye(3)[[2, 1, 0]], np.eye(3, dtype=bool)[[0, 0, 2]]
    assert chroma_accuracy(scores, targets, classes, np.ones((1, 3)))[0] == pytest.approx(2 / 3)
    assert accuracy(scores, targets, classes, np.ones((1, 3)))[0] == 0


def test_interval_of_one_fold_is_the_binomial_one() -> None:
    scores, targets = one_label(2000)
    found = score_folds(accuracy, [[scores]], [targets], CLASSES, resamples=4000)
    half = 1.96 * np.sqrt(found.value * (1 - found.value) / 2000)
    assert found.low == pytest.approx(found.value - half, abs=0.003)
    assert found.high == pytest.approx(found.value + half, abs=0.003)
    assert found.std is None


def test_score_is_the_mean_over_folds_then_seeds() -> None:
    right, wrong = np.eye(6)[[0] * 10], np.eye(6)[[1] * 10]
    targets = np.eye(6, dtype=bool)[[0] * 10]
    found = score_folds(accuracy, [[right, wrong[:5]], [right, right[:5]]], [targets, targets[:5]], CLASSES)
    assert found.value == pytest.approx(0.75)  # folds count alike, whatever their size
    assert found.fold_scores == (1.0, 0.5)
    assert found.std == pytest.approx(np.std([0.5, 1.0], ddof=1))
    assert (found.low, found.high) == (0.75, 0.75)


def test_bootstrap_is_the_same_every_time() -> None:
    scores, targets = one_label()
    assert score_folds(accuracy, [[scores]], [targets], CLASSES) == score_folds(
        accuracy, [[scores]], [targets], CLASSES
    )


@pytest.mark.filterwarnings("error")
def test_a_score_that_nothing_can_tell_is_nan_without_warnings() -> None:
    targets = np.ones((4, 2), dtype=bool)  # no negatives
    found = score_folds(d_prime, [[np.eye(4, 2)], [np.eye(4, 2)]], [targets], ["a", "b"], resamples=20)
    assert np.isnan([found.value, found.low, found.high, *found.fold_scores]).all()
