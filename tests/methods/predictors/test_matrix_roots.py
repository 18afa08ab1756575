"""The matrix iterations against decompositions in float64, where they are easy and where they are not."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from byol_a.methods.predictors.matrix_roots import (
    neumann_series,
    newton_schulz_fourth_root,
    newton_schulz_root,
    spectral_norm,
    stiefel_factor,
    visser_root,
)

from .matrices import SIZE, covariance, error, on_spectrum

HARD = ["full", "ill", "rank 3", "few", "equal"]


def newton_schulz(s: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The iteration of the paper on eigenvalues: A_n and B_n."""
    a, b = s / s.norm(), torch.ones_like(s)
    for _ in range(n):
        a, b = a * (3 - b * a) / 2, (3 - b * a) * b / 2
    return a, b


def newton_schulz_on_spectrum(s: Tensor, n: int) -> Tensor:
    return newton_schulz(s, n)[0] * s.norm().sqrt()


def visser_on_spectrum(s: Tensor, n: int, eta: float) -> Tensor:
    p = torch.full_like(s, 1 / (2 * eta))
    for _ in range(n):
        p = p + eta * (s / s.norm() - p**2)
    return p * s.norm().sqrt()


def stiefel_on_spectrum(s: Tensor, n: int) -> Tensor:
    _, b = newton_schulz(s**2, n)
    return b * s / b.norm()


ITERATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "newton_schulz": (lambda m: newton_schulz_root(m, 9), lambda s: newton_schulz_on_spectrum(s, 9)),
    "newton_schulz2": (
        lambda m: newton_schulz_fourth_root(m, 7),
        lambda s: newton_schulz_on_spectrum(newton_schulz_on_spectrum(s, 7), 7),
    ),
    "visser": (lambda m: visser_root(m, 50, 0.5), lambda s: visser_on_spectrum(s, 50, 0.5)),
    "stiefel": (lambda m: stiefel_factor(m, 9), lambda s: stiefel_on_spectrum(s, 9)),
}


@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize("name", list(ITERATIONS))
def test_an_iteration_is_that_of_the_paper_on_each_eigenvalue(name: str, kind: str) -> None:
    """The paper's number of steps, not the limit; in float32 rounding must stay small too."""
    iteration, on_values = ITERATIONS[name]
    matrix = covariance(kind)
    expected = on_spectrum(matrix, on_values)
    assert error(iteration(matrix), expected) < 1e-11
    assert error(iteration(matrix.float()).double(), expected) < 3e-4


@pytest.mark.parametrize("kind", HARD)
def test_roots_and_polar_factor_are_reached(kind: str) -> None:
    """As far as rounding allows: an eigenvalue of zero is known to the root of float64's precision at best."""
    matrix = covariance(kind)
    root = on_spectrum(matrix, torch.sqrt)
    assert error(newton_schulz_root(matrix, 40), root) < 1e-6
    assert error(newton_schulz_fourth_root(matrix, 40), on_spectrum(root, torch.sqrt)) < 2e-2
    if kind in ("full", "ill"):
        assert error(newton_schulz_root(matrix, 40), torch.from_numpy(scipy.linalg.sqrtm(matrix.numpy()))) < 1e-9
    factor = stiefel_factor(matrix, 60)
    projector = on_spectrum(matrix, lambda s: (s > 1e-13).double())
    assert error(factor / spectral_norm(factor), projector) < 1e-3


def test_polar_factor_of_a_matrix_that_is_not_symmetric() -> None:
    matrix = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    orthogonal, _ = scipy.linalg.polar(matrix.numpy())
    for dtype, precision in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        factor = stiefel_factor(matrix.to(dtype), 40).double()
        assert error(factor / spectral_norm(factor), torch.from_numpy(orthogonal).T) < precision


@pytest.mark.parametrize("eta", [0.1, 0.5, 0.95])
def test_visser_tends_to_the_root_for_every_step_size_below_one(eta: float) -> None:
    matrix = covariance("full")
    assert error(visser_root(matrix, 1000, eta), on_spectrum(matrix, torch.sqrt)) < 1e-10


def test_visser_leaves_a_ridge_where_there_is_nothing() -> None:
    root = visser_root(torch.diag(torch.tensor([1.0, 0.0])), 50, 0.5)
    assert root[0, 0] == pytest.approx(1.0, abs=1e-3)
    assert root[1, 1] == pytest.approx(1 / (0.5 * 50), rel=0.15)


@pytest.mark.parametrize("kind", [*HARD, "zero"])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_float32_stays_finite_and_close_for_any_number_of_steps(kind: str, scale: float) -> None:
    exact = covariance(kind, 64)
    matrix = exact.float() * scale
    roots = {power: on_spectrum(exact, lambda s, power=power: s**power) * scale**power for power in (0.5, 0.25)}
    for n in (20, 1000):
        found = newton_schulz_root(matrix, n)
        found4 = newton_schulz_fourth_root(matrix, n)
        assert stiefel_factor(matrix, n).isfinite().all()
        assert visser_root(matrix, n, 0.95).isfinite().all()
        if kind == "zero":
            assert not found.any()
            assert not found4.any()
        else:
            # An eigenvalue of zero is known to 1e-7 of the largest, its fourth root to 2e-2.
            assert error(found.double(), roots[0.5]) < 3e-3
            assert error(found4.double(), roots[0.25]) < 0.1


def test_rounding_noise_is_not_lifted_into_directions_without_latents() -> None:
    matrix = covariance("equal", 64).float()
    outside = torch.eye(64) - matrix / matrix.trace()
    for n in (9, 1000):
        factor = stiefel_factor(matrix, n)
        assert spectral_norm(outside @ factor) < 0.05 * spectral_norm(factor)


def test_neumann_series_by_its_terms_and_in_the_limit() -> None:
    s, c = covariance("full"), covariance("ill")
    eye = torch.eye(SIZE, dtype=torch.float64)
    torch.testing.assert_close(neumann_series(s, c, 1), c)
    torch.testing.assert_close(neumann_series(s, c, 2), 2 * c - s @ c)
    by_hand = sum((torch.linalg.matrix_power(eye - s, k) @ c for k in range(7)), torch.zeros_like(c))
    torch.testing.assert_close(neumann_series(s, c, 7), by_hand)
    torch.testing.assert_close(neumann_series(s, c, 5000), torch.linalg.solve(s, c))


@pytest.mark.parametrize("kind", HARD)
def test_spectral_norm(kind: str) -> None:
    matrix = covariance(kind).float() @ torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    for scale in (1.0, 1e-25):
        expected = np.linalg.norm(matrix.double().numpy(), 2) * scale
        assert spectral_norm(matrix * scale).item() == pytest.approx(expected, rel=1e-5)


def test_spectral_norm_between_close_singular_values() -> None:
    size = 256
    basis = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(0))).Q
    bound = (1 + math.log(size)) / 2**12
    for gap in (1e-4, 1e-3, 3e-3, 1e-2):
        values = torch.full((size,), 1 - gap).index_fill(0, torch.tensor(0), 1.0)
        assert 1 - bound < spectral_norm(basis * values @ basis.T).item() < 1 + 1e-5
    assert spectral_norm(torch.zeros(3, 3)).item() == 0.0
    assert spectral_norm(torch.eye(3)).item() == pytest.approx(1.0)
