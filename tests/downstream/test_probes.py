"""Probes against scikit-learn's own fits and votes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from downstream.probes import KNNProbe, logistic, logistic_path


def blobs(n: int, dim: int, n_classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    centres = rng.normal(size=(n_classes, dim))
    return centres[labels] + 2 * rng.normal(size=(n, dim)), np.eye(n_classes, dtype=bool)[labels]


def centred(scores: np.ndarray) -> np.ndarray:
    return scores - scores.mean(axis=1, keepdims=True)


@pytest.mark.parametrize(("n", "dim"), [(100, 10), (30, 200)])
def test_path_equals_direct_cold_fits_also_in_the_row_space(n: int, dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "TOLERANCE", 1e-9)
    inputs, targets = blobs(n, dim)
    fresh, _ = blobs(50, dim, seed=1)
    grid = (1e-3, 1e-1, 1.0)
    for C, probe in zip(grid, logistic_path(inputs, targets, grid), strict=True):
        direct = LogisticRegression(C=C, tol=1e-9, max_iter=10_000).fit(inputs, targets.argmax(1))
        assert probe.C == C and probe.weights.shape == (dim, 4)
        found, expected = centred(probe.scores(fresh)), direct.decision_function(fresh)
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_working_precision_decides_as_the_exact_fit_does() -> None:
    inputs, targets = blobs(320, 400)
    inputs, targets, fresh = inputs[:120], targets[:120], inputs[120:]
    grid = (1e-3, 1.0)
    for C, probe in zip(grid, logistic_path(inputs.astype(np.float32), targets, grid), strict=True):
        exact = LogisticRegression(C=C, tol=1e-9, max_iter=10_000).fit(inputs, targets.argmax(1))
        assert (probe.scores(fresh).argmax(1) == exact.predict(fresh)).mean() > 0.95


@pytest.mark.parametrize(("n", "dim"), [(60, 5), (20, 100)])
def test_two_classes_and_absent_classes(n: int, dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, two = blobs(n, dim, n_classes=2)
    targets = np.zeros((n, 5), dtype=bool)
    targets[:, [1, 3]] = two
    monkeypatch.setattr(logistic, "TOLERANCE", 1e-9)
    *_, probe = logistic_path(inputs, targets, (0.1, 1.0))
    direct = LogisticRegression(C=1.0, tol=1e-9, max_iter=1000).fit(inputs, two.argmax(1))
    scores = probe.scores(inputs)
    np.testing.assert_allclose(scores[:, 3] - scores[:, 1], direct.decision_function(inputs), atol=1e-4)
    assert set(scores.argmax(1)) == {1, 3}
    (only,) = logistic_path(inputs, np.eye(3, dtype=bool)[[2] * n], (1.0,))
    assert set(only.scores(inputs).argmax(1)) == {2}


def test_several_labels_are_one_regression_each(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, _ = blobs(80, 6)
    targets = np.random.default_rng(3).random((80, 4)) < 0.4
    targets[:, 2], targets[:, 3] = False, True
    monkeypatch.setattr(logistic, "TOLERANCE", 1e-9)
    *_, probe = logistic_path(inputs, targets, (0.1, 1.0), multi_label=True)
    scores = probe.scores(inputs)
    for column in (0, 1):
        direct = LogisticRegression(C=1.0, tol=1e-9).fit(inputs, targets[:, column])
        np.testing.assert_allclose(scores[:, column], direct.decision_function(inputs), atol=1e-4)
    assert (scores[:, 2] < -100).all() and (scores[:, 3] > 100).all()


def test_neighbours_vote_as_sklearn_where_votes_are_not_tied() -> None:
    inputs, targets = blobs(200, 8)
    fresh, _ = blobs(100, 8, seed=5)
    votes = KNeighborsClassifier(7, metric="cosine").fit(inputs, targets.argmax(1)).predict_proba(fresh)
    scores = KNNProbe(inputs, targets, 7).scores(fresh)
    np.testing.assert_allclose(scores, votes, atol=0.07)
    clear = np.sort(votes, axis=1)[:, -1] > np.sort(votes, axis=1)[:, -2]
    np.testing.assert_array_equal(scores.argmax(1)[clear], votes.argmax(1)[clear])


def test_the_nearer_neighbour_breaks_a_tie() -> None:
    inputs = np.array([[1.0, 0.0], [0.0, 1.0]])
    probe = KNNProbe(inputs, np.eye(2, dtype=bool), k=10)  # only two clips: both vote
    assert probe.scores(np.array([[1.0, 0.9], [0.9, 1.0]])).argmax(1).tolist() == [0, 1]
