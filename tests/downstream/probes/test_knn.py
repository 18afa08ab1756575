"""Nearest neighbours against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from downstream.probes import KNNProbe, knn
from downstream.probes.rows import as_rows
from tests.downstream.probes.made import blobs, several_labels


@pytest.fixture(params=[(2048, 8192), (13, 17)])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "ROWS_AT_ONCE", request.param[0])
    monkeypatch.setattr(knn, "TRAIN_AT_ONCE", request.param[1])


def probabilities(scores: np.ndarray) -> np.ndarray:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def test_votes_are_scikit_learns_where_not_tied(blocks: None) -> None:
    inputs, targets = blobs(200, 8)
    fresh, _ = blobs(100, 8, seed=5)
    votes = KNeighborsClassifier(7, metric="cosine").fit(inputs, targets.argmax(1)).predict_proba(fresh)
    scores = KNNProbe(inputs, targets, 7).scores(fresh)
    assert scores.dtype == np.float32 and np.isfinite(scores).all()
    # Being near counts for less than a vote in all.
    np.testing.assert_allclose(probabilities(scores), votes, atol=0.07)
    clear = np.sort(votes, axis=1)[:, -1] > np.sort(votes, axis=1)[:, -2]
    np.testing.assert_array_equal(scores.argmax(1)[clear], votes.argmax(1)[clear])


def test_neighbours_are_scikit_learns(blocks: None) -> None:
    inputs, targets = blobs(150, 12)
    fresh, _ = blobs(60, 12, seed=5)
    distances, expected = NearestNeighbors(n_neighbors=9, metric="cosine").fit(inputs).kneighbors(fresh)
    similarity, index = KNNProbe(inputs, targets, 9).neighbours(as_rows(fresh))
    np.testing.assert_array_equal(index.numpy(), expected)
    np.testing.assert_allclose(similarity.numpy(), 1 - distances, atol=1e-5)


def test_the_nearer_neighbour_breaks_a_tie() -> None:
    inputs = np.array([[1.0, 0.0], [0.0, 1.0]])
    probe = KNNProbe(inputs, np.eye(2, dtype=bool), k=10)  # only two clips: both vote
    assert probe.scores(np.array([[1.0, 0.9], [0.9, 1.0]])).argmax(1).tolist() == [0, 1]


def test_several_labels_give_the_logit_of_each_share(blocks: None) -> None:
    inputs, _ = blobs(90, 6)
    targets = several_labels(90, 5)
    index = NearestNeighbors(n_neighbors=10, metric="cosine").fit(inputs).kneighbors(inputs)[1]
    shares = 1 / (1 + np.exp(-KNNProbe(inputs, targets).scores(inputs)))
    np.testing.assert_allclose(shares, targets[index].mean(axis=1), atol=0.07)


def test_rows_of_zeros_are_numbers_too() -> None:
    inputs, targets = blobs(20, 4)
    inputs[3] = 0
    assert np.isfinite(KNNProbe(inputs, targets, 5).scores(np.zeros((2, 4), np.float32))).all()


@pytest.mark.gpu
def test_the_gpu_finds_the_same() -> None:
    inputs, targets = blobs(3000, 64)
    fresh, _ = blobs(500, 64, seed=5)
    here, there = KNNProbe(inputs, targets).scores(fresh), KNNProbe(inputs, targets, device="cuda").scores(fresh)
    assert (np.abs(here - there).max(axis=1) < 1e-3).mean() > 0.99
