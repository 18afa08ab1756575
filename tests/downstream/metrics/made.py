"""Scores and targets for the tests of metrics."""

from __future__ import annotations

import numpy as np

CLASSES = [str(i) for i in range(6)]


def one_label(n: int = 300, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n, 6) that are right more often than not, and targets."""
    rng = np.random.default_rng(seed)
    targets = np.eye(6, dtype=bool)[rng.integers(0, 6, n)]
    return rng.normal(size=(n, 6)) + targets, targets


def many_labels(n: int = 80, models: int = 1, rate: float = 0.3, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Scores (n, 6) of equally good models whose noise is partly the clips' own, and targets."""
    rng = np.random.default_rng(seed)
    targets = rng.random((n, 6)) < rate
    clips = 1.5 * targets + 0.7 * rng.normal(size=(n, 6))
    return [clips + rng.normal(size=(n, 6)) for _ in range(models)], targets
