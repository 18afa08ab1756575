"""L2-regularised logistic regression over a path of C, multinomial or one-vs-rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

TOLERANCE, MAX_ITERATIONS = 1e-4, 1000
# Score of a class that no training clip has (and, negated, of one that all have): no evidence reaches it.
NEVER = -1e4


@dataclass(frozen=True)
class LogisticProbe:
    """A fitted linear classifier: `weights` (D, C), `bias` (C,)."""

    C: float
    weights: np.ndarray
    bias: np.ndarray

    def scores(self, embeddings: np.ndarray) -> np.ndarray:
        """Scores (n, C) of embeddings (n, D): logits, to be compared within a clip (multi-label: a class)."""
        return embeddings @ self.weights + self.bias


def logistic_path(
    embeddings: np.ndarray, targets: np.ndarray, grid: Sequence[float], multi_label: bool = False
) -> Iterator[LogisticProbe]:
    """Fit for every C of `grid`, in its order; each fit starts where the last one ended.

    With fewer clips than dimensions, the solution lies in the span of the clips (any component outside it
    costs penalty and changes no score), so the fit is done in an orthonormal basis of that span: the same
    minimum, with N instead of D weights a class.

    Args:
        embeddings: (N, D), standardised.
        targets: (N, C) bool; one True a row unless `multi_label`.
        grid: inverse regularisation strengths, as in scikit-learn, increasing.
        multi_label: one binary regression per class instead of one multinomial.
    """
    n_clips, dim = embeddings.shape
    basis = np.linalg.qr(embeddings.T)[0] if 2 * n_clips <= dim else None  # (D, N)
    inputs = embeddings if basis is None else embeddings @ basis
    fits = _one_vs_rest(inputs, targets, grid) if multi_label else _multinomial(inputs, targets, grid)
    for C, (weights, bias) in zip(grid, fits, strict=True):
        yield LogisticProbe(C, weights if basis is None else basis @ weights, bias)


def _multinomial(
    inputs: np.ndarray, targets: np.ndarray, grid: Sequence[float]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    labels = targets.argmax(axis=1)
    present = np.unique(labels)
    weights = np.zeros((inputs.shape[1], targets.shape[1]), dtype=inputs.dtype)
    bias = np.full(targets.shape[1], NEVER, dtype=inputs.dtype)
    if len(present) == 1:
        bias[present] = 0
        for _ in grid:
            yield weights, bias
        return
    for coefficients, intercepts in _warm_fits(inputs, labels, grid):
        weights, bias = weights.copy(), bias.copy()
        if len(present) == 2:  # scikit-learn then keeps the difference of the two classes only
            weights[:, present[1]], bias[present] = coefficients[0], (0, intercepts[0])
        else:
            weights[:, present], bias[present] = coefficients.T, intercepts
        yield weights, bias


def _one_vs_rest(
    inputs: np.ndarray, targets: np.ndarray, grid: Sequence[float]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    n_classes = targets.shape[1]
    weights = np.zeros((len(grid), inputs.shape[1], n_classes), dtype=inputs.dtype)
    bias = np.where(targets.all(axis=0), -NEVER, NEVER) * np.ones((len(grid), 1), dtype=inputs.dtype)
    for column in np.flatnonzero(targets.any(axis=0) & ~targets.all(axis=0)):
        for step, (coefficients, intercepts) in enumerate(_warm_fits(inputs, targets[:, column], grid)):
            weights[step, :, column], bias[step, column] = coefficients[0], intercepts[0]
    yield from zip(weights, bias, strict=True)


def _warm_fits(
    inputs: np.ndarray, labels: np.ndarray, grid: Sequence[float]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(warm_start=True, tol=TOLERANCE, max_iter=MAX_ITERATIONS)
    for C in grid:
        regression.C = C
        regression.fit(inputs, labels)
        yield regression.coef_.copy(), regression.intercept_.copy()
