"""Maps of embeddings: what is near in the embedding is near on the map, whatever the input."""

from __future__ import annotations

import numpy as np
import pytest

from downstream.report.projection import project


def clusters(n_rows: int, n_classes: int = 6, dim: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n_rows)
    middles = 3 * rng.standard_normal((n_classes, dim))
    return (middles[labels] + rng.standard_normal((n_rows, dim))).astype(np.float32), labels


def neighbours_agree(points: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=6).fit(points).kneighbors(points, return_distance=False)[:, 1:]
    return float((labels[nearest] == labels[:, None]).mean())


def test_clusters_stay_clusters_and_equal_input_gives_an_equal_map() -> None:
    rows, labels = clusters(300)
    found, again = project(rows.copy(), labels), project(rows.copy(), labels)
    np.testing.assert_array_equal(found.points, again.points)
    np.testing.assert_array_equal(found.chosen, np.arange(300))
    assert found.points.shape == (300, 2) and found.points.dtype == np.float32
    assert neighbours_agree(found.points, labels) > 0.95
    assert "t-SNE" in found.method


def test_many_are_placed_by_landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("downstream.report.projection.MOST_DIRECT", 400)
    monkeypatch.setattr("downstream.report.projection.LANDMARKS", 300)
    rows, labels = clusters(1500)
    found = project(rows, labels)
    assert len(found.points) == 1500 and "300 landmarks" in found.method
    assert neighbours_agree(found.points, labels) > 0.95


def test_a_choice_keeps_each_label_and_its_share() -> None:
    rows, _ = clusters(1000)
    labels = np.where(np.arange(1000) < 900, "common", "rare")
    labels[500] = "single"
    found = project(rows, labels, most=100)
    chosen = labels[found.chosen]
    assert len(chosen) == 100 and (np.diff(found.chosen) > 0).all()
    assert (chosen == "single").sum() == 1
    assert (chosen == "rare").sum() == pytest.approx(10, abs=1)


def test_rows_that_are_not_finite_are_not_drawn() -> None:
    rows, labels = clusters(60)
    rows[7, 3], rows[9, 0] = np.nan, np.inf
    found = project(rows, labels)
    assert len(found.chosen) == 58 and not {7, 9} & set(found.chosen.tolist())
    assert np.isfinite(found.points).all()


@pytest.mark.parametrize("rows", [np.ones((20, 5)), np.ones((2, 5)), np.zeros((0, 5)), np.eye(30)[:, :1]])
def test_degenerate_embeddings_give_a_map_all_the_same(rows: np.ndarray) -> None:
    found = project(rows.astype(np.float32), ["a"] * len(rows))
    assert found.points.shape == (len(rows), 2) and np.isfinite(found.points).all()


def test_the_embeddings_are_left_alone() -> None:
    rows, labels = clusters(50)
    before = rows.copy()
    project(rows, labels)
    np.testing.assert_array_equal(rows, before)
