"""The energy against a double loop over the set, its gradient, and rows that coincide."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from byol_a.methods.regularizers.hyperspherical_energy import CLOSEST, Power, hyperspherical_energy

EVERY = list(itertools.product((0, 1, 2), (False, True)))


def rows(n: int, size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def by_double_loop(w: Tensor, s: int, half_space: bool) -> float:
    """Mean over i < j of the energies of the set, which holds the rows' opposites where it is half-space."""
    points = w / w.norm(dim=1, keepdim=True)
    if half_space:
        points = torch.cat([points, -points])
    energies = []
    for i, j in itertools.combinations(range(len(points)), 2):
        squared = 2 - 2 * (points[i] @ points[j]).item()
        energies.append(-math.log(squared) if s == 0 else squared ** (-s / 2))
    return sum(energies) / len(energies)


@pytest.mark.parametrize(("s", "half_space"), EVERY)
@pytest.mark.parametrize("shape", [(2, 3), (9, 4), (5, 40)])
def test_it_equals_a_double_loop_over_the_set(s: Power, half_space: bool, shape: tuple[int, int]) -> None:
    w = rows(*shape) * torch.linspace(0.01, 5, shape[0], dtype=torch.float64)[:, None]
    expected = by_double_loop(w, s, half_space)
    assert hyperspherical_energy(w, s, half_space).item() == pytest.approx(expected, rel=1e-12)
    with torch.autocast("cpu", torch.bfloat16):
        single = hyperspherical_energy(w.float(), s, half_space)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_right_angles_by_hand() -> None:
    # d^2 = 2 for each pair; half-space: four such pairs, and two rows with their own opposites at d^2 = 4
    w = torch.eye(2, dtype=torch.float64)
    assert hyperspherical_energy(w, 0, False).item() == pytest.approx(-math.log(2))
    assert hyperspherical_energy(w, 1, False).item() == pytest.approx(1 / math.sqrt(2))
    assert hyperspherical_energy(w, 2, False).item() == pytest.approx(1 / 2)
    assert hyperspherical_energy(w, 2, True).item() == pytest.approx((4 / 2 + 2 / 4) / 6)


@pytest.mark.parametrize(("s", "half_space"), EVERY)
def test_gradient(s: Power, half_space: bool) -> None:
    w = rows(6, 4) * 0.3
    w[5] = w[4] + 0.005  # closer than CLOSEST: on the tangent
    assert (2 - 2 * torch.cosine_similarity(w[4], w[5], dim=0)).item() < CLOSEST
    w.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: 3 * hyperspherical_energy(x, s, half_space), w)


@pytest.mark.parametrize(("s", "half_space"), EVERY)
def test_coinciding_opposite_and_zero_rows_are_finite(s: Power, half_space: bool) -> None:
    w = rows(6, 4, torch.float32)
    w[1] = w[0]
    w[2] = -3 * w[0]
    w[3] = w[0] * (1 + 1e-7) + 1e-6
    w[4] = 0
    w.requires_grad_()
    energy = hyperspherical_energy(w, s, half_space)
    energy.backward()
    assert w.grad is not None
    assert torch.isfinite(energy)
    assert torch.isfinite(w.grad).all()
    assert w.grad[4].abs().max() == 0


@pytest.mark.parametrize(("half_space", "angle"), [(False, 120.0), (True, 60.0)])
def test_descent_finds_the_best_angles(half_space: bool, angle: float) -> None:
    """Three rows in a plane: arrows 120 degrees apart, or lines, which are 60."""
    w = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -0.5]], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([w], 0.03)
    for _ in range(200):
        optimizer.zero_grad()
        hyperspherical_energy(w, 2, half_space).backward()
        optimizer.step()
    unit = (w / w.norm(dim=1, keepdim=True)).detach()
    cosines = (unit @ unit.T)[[0, 0, 1], [1, 2, 2]]
    found = (cosines.abs() if half_space else cosines).acos().rad2deg()
    torch.testing.assert_close(found, torch.full((3,), angle, dtype=torch.float64), atol=1.0, rtol=0)
