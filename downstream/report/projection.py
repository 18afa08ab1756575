"""Embeddings in the plane: t-SNE of all of them, or of landmarks with the others put beside those."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

DIMENSIONS = 50
MOST_DIRECT = LANDMARKS = 3000
NEIGHBOURS, AGREEING = 10, 4  # landmarks that a point is put beside
MOST_DRAWN = 20_000
PERPLEXITY = 30.0
ITERATIONS = 750


class Projection(NamedTuple):
    """Points (P, 2) float32 of the rows `chosen` (P,) of the embeddings, in ascending order."""

    points: np.ndarray
    chosen: np.ndarray
    method: str


def project(
    embeddings: np.ndarray, labels: Sequence[str] | np.ndarray, seed: int = 0, most: int = MOST_DRAWN
) -> Projection:
    """Draw embeddings (N, D) as a map of at most `most` points; equal input gives an equal map.

    Columns are standardised and reduced to 50 principal components, then t-SNE (van der Maaten & Hinton 2008)
    places up to 3,000 points. Of more, 3,000 landmarks are placed so, and each other one among those of its ten
    nearest landmarks that lie together. Distances between clusters mean little in such maps.

    Args:
        labels: (N,) one for each row; where not all rows are drawn, each label keeps its share and at least one.
        most: rows with a value that is not finite are never drawn.
    """
    names = np.asarray(labels)
    usable = np.flatnonzero([np.isfinite(row).all() for row in np.asarray(embeddings)])
    chosen = usable[_shares(names[usable], min(most, len(usable)), seed)]
    rows = np.asarray(embeddings[chosen], dtype=np.float32)
    if len(chosen) < 4:
        line = np.column_stack([np.arange(len(chosen)), np.zeros(len(chosen))])
        return Projection(line.astype(np.float32), chosen, "too few clips to draw: side by side")
    reduced, method = _principal(rows, seed)
    if len(chosen) <= MOST_DIRECT:
        return Projection(_tsne(reduced, seed), chosen, f"{method}, then t-SNE")
    landmarks = _shares(names[chosen], LANDMARKS, seed)
    points = np.empty((len(chosen), 2), dtype=np.float32)
    points[landmarks] = _tsne(reduced[landmarks], seed)
    others = np.setdiff1d(np.arange(len(chosen)), landmarks)
    points[others] = _beside(reduced[others], reduced[landmarks], points[landmarks])
    method = f"{method}, then t-SNE of {len(landmarks):,} landmarks; the others beside their nearest landmarks"
    return Projection(points, chosen, method)


def _shares(names: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Indices of `count` rows, ascending: each name's share of them, drawn evenly."""
    if count >= len(names):
        return np.arange(len(names))
    order = np.random.default_rng(seed).permutation(len(names))
    _, inverse, sizes = np.unique(names[order], return_inverse=True, return_counts=True)
    by_name = np.argsort(inverse, kind="stable")
    within = np.empty(len(names))
    within[by_name] = np.concatenate([(np.arange(size) + 0.5) / size for size in sizes])
    within[by_name[np.cumsum(sizes) - sizes]] = 0.0  # one of each name comes first
    return np.sort(order[np.argsort(within, kind="stable")[:count]])


def _principal(rows: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
    """At most 50 principal components of standardised columns, and what was done, in words."""
    from sklearn.decomposition import PCA

    rows -= rows.mean(axis=0)
    spread = rows.std(axis=0)
    rows /= np.where(spread > 0, spread, 1.0)
    size = min(DIMENSIONS, *rows.shape)
    if rows.shape[1] <= DIMENSIONS:
        return rows, "standardised"
    reduced = PCA(size, svd_solver="randomized", iterated_power=3, random_state=seed).fit_transform(rows)
    return reduced.astype(np.float32), f"standardised, {size} principal components"


def _tsne(rows: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if not rows.any():
        return np.zeros((len(rows), 2), dtype=np.float32)  # all embeddings are the same
    tsne = TSNE(
        2,
        perplexity=min(PERPLEXITY, (len(rows) - 1) / 3),
        init="random" if rows.shape[1] < 2 else "pca",
        max_iter=ITERATIONS,
        random_state=seed,
    )
    # Its threads wait for one another at every step: with others on the machine, one alone is several times faster.
    with threadpool_limits(1):
        return np.asarray(tsne.fit_transform(rows), dtype=np.float32)


def _beside(rows: np.ndarray, landmarks: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Places (N, 2) among those of the nearest landmarks that agree.

    A mean of all of them would lie between groups, where nothing is: those that are nearest to their median
    count, the nearer in the embedding the more.
    """
    squares = (landmarks**2).sum(axis=1)
    found = np.empty((len(rows), 2), dtype=np.float32)
    for start in range(0, len(rows), 2000):
        block = rows[start : start + 2000]
        distances = np.maximum((block**2).sum(axis=1)[:, None] + squares - 2 * block @ landmarks.T, 0.0)
        nearest = np.argpartition(distances, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        candidates = places[nearest]
        away = ((candidates - np.median(candidates, axis=1, keepdims=True)) ** 2).sum(axis=2)
        agreeing = np.argsort(away, axis=1, kind="stable")[:, :AGREEING]
        near = np.take_along_axis(distances, np.take_along_axis(nearest, agreeing, axis=1), axis=1)
        above = near - near.min(axis=1, keepdims=True)
        weights = np.exp(-above / np.maximum(above.mean(axis=1, keepdims=True), 1e-12))
        weights /= weights.sum(axis=1, keepdims=True)
        kept = np.take_along_axis(candidates, agreeing[:, :, None], axis=1)
        found[start : start + 2000] = (weights[:, :, None] * kept).sum(axis=1)
    return found
