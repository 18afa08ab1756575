"""Roots, polar factors and norms of square matrices by products alone: no decomposition, so cheap on any device.

Each iteration tends to its limit for every matrix of its kind, whatever its scale and rank, and stays finite in
float32 for any number of steps. All take and give (P, P) matrices of one floating type; the caller sees to it that
products are real float32 (`full_precision`, no autocast). The iterations are those of Richemond et al. 2023
(arXiv 2302.04817), their theory is in Higham, "Functions of Matrices" (2008), chapters 6 and 8.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def newton_schulz_root(matrix: Tensor, iterations: int, noise: float = 0.0) -> Tensor:
    """The square root of a symmetric, positive semi-definite matrix by the coupled Newton-Schulz iteration.

    `A0 = S / ||S||_F, B0 = I; A <- A (3I - BA) / 2, B <- (3I - BA) B / 2`, both from the old pair; the root is
    `A_n sqrt(||S||_F)`. A small eigenvalue gains a factor 3/2 a step until it has converged, so that few steps give a
    root that is damped towards zero there.

    An eigenvalue of zero that rounding has made negative grows by 9/4 a step (in BA), until it explodes. Steps that
    could take it so far are left out; what is above the noise has converged before them. In float32 that is from the
    18th step on.

    Args:
        matrix: S (P, P).
        iterations: n.
        noise: the size of eigenvalues that may be rounding alone, as a share of `||S||_F`; at least four units of the
            last place are taken.

    Returns:
        (P, P), symmetric up to rounding.
    """
    root, norm = _normalized(matrix)
    eye = inverse_root = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    for _ in range(_steps(iterations, 9 / 4, 1 / max(noise, _noise(matrix)))):
        step = torch.addmm(eye, inverse_root, root, beta=1.5, alpha=-0.5)
        # Do not make the two symmetric: their rounding errors are coupled, and grow if they are parted.
        root, inverse_root = root @ step, step @ inverse_root
    return root * norm.sqrt()


def newton_schulz_fourth_root(matrix: Tensor, iterations: int) -> Tensor:
    """The fourth root of a symmetric, positive semi-definite (P, P): the root of the root, `iterations` steps each."""
    noise = _noise(matrix)
    lifted = noise * 1.5 ** _steps(iterations, 9 / 4, 1 / noise)  # what the first root makes of rounding
    return newton_schulz_root(newton_schulz_root(matrix, iterations), iterations, noise=lifted)


def visser_root(matrix: Tensor, iterations: int, eta: float) -> Tensor:
    """The square root of a symmetric, positive semi-definite matrix by Visser's iteration.

    `P0 = I / (2 eta); P <- P + eta (S - P^2)`. An eigenvalue p of P, where S has s, follows `q <- q (1 - q) + eta^2 s`
    with `q = eta p` from q = 1/2. That tends to `eta sqrt(s)` if `eta^2 s < 1`, and never overshoots up to 1/4. Where s
    is zero p falls as 1/n only: n steps leave a ridge of about `1 / (eta n)` in those directions.

    The paper leaves the scale of S open. Our choice: S is divided by its Frobenius norm first, and the root multiplied
    by the norm's root, as Newton-Schulz does, so that any `eta < 1` converges. The iteration on S as it is with
    `eta / sqrt(||S||_F)` gives the same.

    Args:
        matrix: S (P, P).
        iterations: n, several dozen.
        eta: step size, in (0, 1).

    Returns:
        (P, P), symmetric up to rounding.
    """
    scaled, norm = _normalized(matrix)
    root = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device) / (2 * eta)
    for _ in range(iterations):
        root = torch.addmm(root + eta * scaled, root, root, alpha=-eta)
    return root * norm.sqrt()


def stiefel_factor(matrix: Tensor, iterations: int) -> Tensor:
    """`B_n M^T / ||B_n||_F` for a square matrix M, with `B_n` of the Newton-Schulz iteration on `M^T M`.

    `B_n` tends to a multiple of `(M^T M)^(-1/2)`, so this tends to a multiple of the transposed polar factor of M, the
    orthogonal matrix nearest to `M^T`. Directions in which M is zero, or too small for n steps, are damped towards
    zero.

    The iteration is run on `X_k = B_k M^T / sqrt(||M^T M||_F)`, for which it reads `X <- (3I - X X^T) X / 2`. These are
    the same matrices, but what is small in M is not squared, and so not lost in rounding.

    Args:
        matrix: M (P, P), of any rank.
        iterations: n. Steps that would lift rounding noise to a hundredth of the largest direction and more are left
            out, in float32 from the 25th on.

    Returns:
        (P, P).
    """
    scaled, norm = _normalized(matrix)
    _, square_norm = _normalized(scaled.T @ scaled)
    scale = _positive(square_norm).sqrt()
    factor = scaled.T / scale
    eye = inverse_root = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    for _ in range(_steps(iterations, 3 / 2, 0.01 / _noise(matrix))):
        step = torch.addmm(eye, factor, factor.T, beta=1.5, alpha=-0.5)
        factor, inverse_root = step @ factor, step @ inverse_root
    return factor * (norm * scale / inverse_root.norm())


def neumann_series(matrix: Tensor, right: Tensor, terms: int) -> Tensor:
    """`sum over k < terms of (I - S)^k C`: for eigenvalues of S in (0, 2) the beginning of `S^-1 C`.

    Args:
        matrix: S (P, P).
        right: C (P, P).
        terms: at least one; two give `2 C - S C`.
    """
    total = right
    for _ in range(terms - 1):
        total = torch.addmm(total + right, matrix, total, alpha=-1)
    return total


def spectral_norm(matrix: Tensor, squarings: int = 10) -> Tensor:
    """The largest singular value of a (P, P) matrix, a scalar: from below, and to float32 where it stands out.

    `M^T M` is squared `squarings` times, that is 2^10 steps of the power method for P starts at once. However close the
    next singular values are, at most a share `(1 + log P) / 2^(squarings + 2)` is missing: 0.2 % at P = 256.
    """
    scaled, norm = _normalized(matrix)
    power, _ = _normalized(scaled.T @ scaled)
    for _ in range(squarings):
        power, _ = _normalized(power @ power)
    vector = power.index_select(1, power.square().sum(0).argmax().view(1))
    return (scaled @ vector).norm() / _positive(vector.norm()) * norm


def _normalized(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix divided by its Frobenius norm, and the norm; zero stays zero. Safe where squares would underflow."""
    largest = _positive(matrix.abs().amax())
    matrix = matrix / largest
    norm = matrix.norm()
    return matrix / _positive(norm), norm * largest


def _positive(x: Tensor) -> Tensor:
    return x.clamp_min(torch.finfo(x.dtype).tiny)


def _noise(matrix: Tensor) -> float:
    """What rounding may make of an eigenvalue of zero, as a share of the matrix' Frobenius norm."""
    return 4.0 * torch.finfo(matrix.dtype).eps


def _steps(iterations: int, growth: float, most: float) -> int:
    """`iterations`, or if that is less, as many as something takes that grows by `growth` in each to grow by `most`."""
    return min(iterations, int(math.log(most) / math.log(growth)))
