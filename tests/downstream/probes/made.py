"""Embeddings with classes, made for tests of probes."""

from __future__ import annotations

import numpy as np


def blobs(n: int, dim: int, n_classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes, (n, dim) float32 of correlated dimensions, and targets (n, n_classes) bool."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    mixing = np.random.default_rng(99).normal(size=(dim, dim)) / np.sqrt(dim)
    centres = np.random.default_rng(98).normal(size=(n_classes, dim))
    inputs = (centres[labels] + 2 * rng.normal(size=(n, dim))) @ mixing
    return inputs.astype(np.float32), np.eye(n_classes, dtype=bool)[labels]


def several_labels(n: int, n_classes: int, seed: int = 3) -> np.ndarray:
    """Targets (n, n_classes) bool with any number of labels a clip."""
    return np.random.default_rng(seed).random((n, n_classes)) < 0.4
