"""Inputs in the eigenbasis of their Gram matrix, where a quadratic model of any fit is diagonal."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

# Below it an eigenvalue, relative to the largest, is rounding: clips in its direction do not differ.
NEGLIGIBLE = 1e-12
TINY = 1e-300  # in place of an eigenvalue of 0
SMALL = 2**20  # elements of the inputs up to which double precision costs nothing worth saving


class Eigenbasis:
    """Centred inputs X (N, D) seen as X V, with V the eigenvectors of X^T X.

    With fewer clips than dimensions the weights of a penalised fit lie in the span of the clips (a component
    outside costs penalty and changes no score), so r <= N coordinates are enough and X V is kept instead of X.
    Otherwise X stays as it is, and coordinates are turned into weights and back around each product with it:
    2 D^2 operations a column, beside 2 N D.

    Attributes:
        eigenvalues: (r,) of the Gram matrix, ascending, in the working precision: double for small inputs.
    """

    def __init__(self, inputs: Tensor) -> None:
        n_clips, dim = inputs.shape
        in_span = n_clips <= dim
        small = n_clips * min(n_clips, dim) <= SMALL
        self.mean = inputs.mean(dim=0)
        if in_span:
            centred = inputs.double() - inputs.double().mean(dim=0)
            eigenvalues, vectors = torch.linalg.eigh(centred @ centred.T)
            kept = eigenvalues > NEGLIGIBLE * eigenvalues[-1]
            kept[-1] = True  # one direction at least, though all clips be equal: it has no weights then
            eigenvalues, vectors = eigenvalues[kept].clamp_min(TINY), vectors[:, kept]
            scale = eigenvalues.sqrt()
            rows, basis = vectors * scale, centred.T @ (vectors / scale)
        else:
            rows = inputs.double() if small else inputs
            gram = (rows.T @ rows).double() - n_clips * torch.outer(self.mean.double(), self.mean.double())
            eigenvalues, basis = torch.linalg.eigh(gram)
            eigenvalues = eigenvalues.clamp_min(0)
        dtype = torch.float64 if small else torch.float32
        self._rows = rows.to(dtype)  # (N, r) in the span, otherwise (N, D)
        self._basis = basis.to(dtype)  # (D, r)
        self._rotated = in_span
        self.eigenvalues = eigenvalues.to(dtype)
        self.mean = self.mean.to(dtype)

    @property
    def n_clips(self) -> int:
        return len(self._rows)

    @property
    def dim(self) -> int:
        return len(self._basis)

    @property
    def rank(self) -> int:
        return len(self.eigenvalues)

    def tensor(self, values: ArrayLike, dtype: torch.dtype | None = None) -> Tensor:
        """`values` where the inputs are, in the working precision unless another type is asked for."""
        return torch.as_tensor(np.asarray(values)).to(self._rows.device, dtype or self._rows.dtype)

    def forward(self, coordinates: Tensor) -> Tensor:
        """Scores (..., N), less any bias, of weights given by coordinates (..., r)."""
        columns = coordinates.reshape(-1, coordinates.shape[-1])
        if self._rotated:
            scores = columns @ self._rows.T
        else:
            weights = columns @ self._basis.T
            scores = weights @ self._rows.T
            scores -= (weights @ self.mean)[:, None]
        return scores.reshape(*coordinates.shape[:-1], self.n_clips)

    def backward(self, residuals: Tensor) -> Tensor:
        """Gradient (..., r) in coordinates of scores' gradient (..., N): the transpose of `forward`."""
        columns = residuals.reshape(-1, self.n_clips)
        products = columns @ self._rows
        if not self._rotated:
            products -= torch.outer(columns.sum(dim=1), self.mean)
            products = products @ self._basis
        return products.reshape(*residuals.shape[:-1], products.shape[-1])

    def weights(self, coordinates: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (..., D) and bias (...,) for inputs as they came, not centred."""
        weights = coordinates @ self._basis.T
        return weights, bias - weights @ self.mean
