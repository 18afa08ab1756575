"""k nearest neighbours by cosine similarity."""

from __future__ import annotations

import numpy as np


class KNNProbe:
    """Scores a clip by the share of its k nearest training clips in each class; nearer ones break ties.

    Args:
        embeddings: (N, D), standardised.
        targets: (N, C) bool.
        k: neighbours; all training clips where there are fewer.
    """

    def __init__(self, embeddings: np.ndarray, targets: np.ndarray, k: int = 10) -> None:
        from sklearn.neighbors import KNeighborsRegressor

        self.k = min(k, len(embeddings))
        # Regression on one-hot targets is the classifier's vote, and serves several labels a clip as well.
        self._neighbours = KNeighborsRegressor(self.k, metric="cosine", algorithm="brute", weights=self._votes).fit(
            embeddings, targets.astype(np.float32)
        )

    def _votes(self, distances: np.ndarray) -> np.ndarray:
        # One vote each, plus less than one vote in all for being near (cosine distance is in [0, 2]).
        return 1 + (1 - distances / 2) / (self.k + 1)

    def scores(self, embeddings: np.ndarray) -> np.ndarray:
        """Scores (n, C) in [0, 1] of embeddings (n, D)."""
        return np.asarray(self._neighbours.predict(embeddings))
