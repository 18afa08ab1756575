"""Projections that make a matrix iteration easy or hard, and functions of matrices in float64 to compare with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SIZE = 32


def latents(kind: str, size: int = SIZE) -> Tensor:
    """Rows (N, P) in float64: `full` rank, `ill` conditioned, of `rank 3`, `few` rows, all `equal`, `zero`."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4 * size, size, generator=generator, dtype=torch.float64)
    if kind == "ill":
        return x * torch.logspace(0, -4, size, dtype=torch.float64)
    if kind == "rank 3":
        return x[:, :3] @ x[:3]
    if kind == "few":
        return x[:5]
    if kind == "equal":
        return x[:1].expand_as(x)
    return torch.zeros_like(x) if kind == "zero" else x


def covariance(kind: str, size: int = SIZE) -> Tensor:
    """S (P, P) of L2-normalised rows, float64."""
    z = torch.nn.functional.normalize(latents(kind, size), dim=-1)
    return z.T @ z / len(z)


def on_spectrum(matrix: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """A function of a symmetric matrix by its eigenvalues, those of rounding set to zero."""
    values, vectors = torch.linalg.eigh(matrix)
    values = values.where(values > 1e-13 * values.max(), 0.0)
    return (vectors * function(values)) @ vectors.T


def error(found: Tensor, expected: Tensor) -> float:
    """Relative, in the Frobenius norm."""
    return ((found - expected).norm() / expected.norm()).item()
