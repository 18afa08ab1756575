"""Metrics of rankings against scikit-learn and their definitions, with ties and weights."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import sklearn.metrics as reference

from downstream.metrics import METRICS, auc_roc, average_precisions, d_prime, lwlrap, macro_map, roc_areas
from downstream.metrics.ranking import ranks
from tests.downstream.metrics.made import CLASSES, many_labels


@pytest.fixture(params=["distinct", "tied", "float32", "long"])
def multi_label(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    (scores,), targets = many_labels(3000 if request.param == "long" else 80)
    weights = np.random.default_rng(3).integers(0, 4, (3, len(scores)))
    if request.param == "tied":
        scores = np.round(scores)
    if request.param == "float32":
        return scores.astype(np.float32), targets, weights.astype(np.float32)
    return scores, targets, weights.astype(float)


def test_average_precision_equals_sklearn(multi_label: tuple[np.ndarray, ...]) -> None:
    scores, targets, weights = multi_label
    expected = [reference.average_precision_score(targets, scores, average=None, sample_weight=w) for w in weights]
    np.testing.assert_allclose(average_precisions(scores, targets, weights), expected, rtol=1e-12)
    np.testing.assert_allclose(macro_map(scores, targets, CLASSES, weights), np.mean(expected, axis=1), rtol=1e-12)


def test_auc_and_d_prime_equal_sklearn(multi_label: tuple[np.ndarray, ...]) -> None:
    from scipy.stats import norm

    scores, targets, weights = multi_label
    areas = [reference.roc_auc_score(targets, scores, sample_weight=w) for w in weights]
    np.testing.assert_allclose(auc_roc(scores, targets, CLASSES, weights), areas, rtol=1e-12)
    np.testing.assert_allclose(d_prime(scores, targets, CLASSES, weights), np.sqrt(2) * norm.ppf(areas), rtol=1e-9)


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    scores, target = np.array([0.0, 1.0, 1.0, 2.0, 2.0, 3.0]), np.array([0, 1, 0, 0, 1, 1], dtype=bool)
    pairs = [(p > n) + (p == n) / 2 for p, n in product(scores[target], scores[~target])]
    assert roc_areas(scores[:, None], target[:, None], np.ones((1, 6)))[0, 0] == np.mean(pairs)


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


def test_a_weight_is_a_number_of_copies(multi_label: tuple[np.ndarray, ...]) -> None:
    scores, targets, weights = multi_label
    copies = np.repeat(np.arange(len(scores)), weights[0].astype(int))
    once = np.ones((1, len(copies)))
    for name in ("macro_map", "auc_roc", "lwlrap"):
        weighted = METRICS[name](scores, targets, CLASSES, weights[:1])
        np.testing.assert_allclose(METRICS[name](scores[copies], targets[copies], CLASSES, once), weighted, rtol=1e-12)


def test_many_classes_are_ranked_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    targets, scores = rng.random((60, 21)) < 0.2, rng.normal(size=(60, 21))
    weights = rng.integers(0, 3, (5, 60)).astype(float)
    alone = [average_precisions(scores[:, [c]], targets[:, [c]], weights)[:, 0] for c in range(21)]
    np.testing.assert_array_equal(average_precisions(scores, targets, weights), np.stack(alone, axis=1))
    monkeypatch.setattr("downstream.metrics.ranking.TALLIES_AT_ONCE", 150)  # one, two or three classes at once
    monkeypatch.setattr("downstream.metrics.ranking.COMPARED_AT_ONCE", 50)
    np.testing.assert_array_equal(average_precisions(scores, targets, weights), np.stack(alone, axis=1))
    expected = reference.label_ranking_average_precision_score(
        targets[targets.any(1)], scores[targets.any(1)], sample_weight=targets.sum(1)[targets.any(1)]
    )
    assert lwlrap(scores, targets, [""] * 21, np.ones((1, 60)))[0] == pytest.approx(expected, rel=1e-12)


def test_classes_without_positives_are_left_out() -> None:
    targets = np.array([[True, False], [False, False]])
    scores = np.array([[1.0, 0.0], [0.0, 1.0]])
    once = np.ones((1, 2))
    assert np.isnan(average_precisions(scores, targets, once)[0, 1])
    assert macro_map(scores, targets, ["a", "b"], once)[0] == 1
    # Nor does a class count in a resample that drew none of its positive clips.
    np.testing.assert_array_equal(average_precisions(scores, targets, np.array([[0.0, 2.0]])), [[np.nan, np.nan]])
    nothing = np.zeros((2, 2), dtype=bool)
    for name in ("macro_map", "auc_roc", "d_prime", "lwlrap"):
        assert np.isnan(METRICS[name](scores, nothing, ["a", "b"], once)[0])


def test_ranks_say_the_same_as_scores(multi_label: tuple[np.ndarray, ...]) -> None:
    scores, targets, weights = multi_label
    for metric in (macro_map, d_prime, auc_roc):
        same = metric(ranks(scores), targets, CLASSES, weights)
        np.testing.assert_array_equal(same, metric(scores, targets, CLASSES, weights))
