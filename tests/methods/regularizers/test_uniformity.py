"""The uniformity regulariser: the formula by hand, its gradient, and that it spreads rows out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from byol_a.errors import UsageError
from byol_a.methods.monitor import uniformity
from byol_a.methods.regularizers import RegularizersConfig, UniformityConfig, create_regularizers
from byol_a.methods.regularizers.uniformity import Uniformity, uniformity_loss


def rows(batch: int, size: int = 5) -> Tensor:
    return torch.randn(batch, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_it_is_the_logarithm_of_the_mean_over_pairs() -> None:
    # Two rows at right angles (d^2 = 2), and one opposite to the first (4 and 2), at any length.
    hand = torch.tensor([[1.0, 0], [0, 3], [-2, 0]], dtype=torch.float64)
    expected = math.log((2 * math.exp(-4) + math.exp(-8)) / 3)
    assert uniformity_loss(hand).item() == pytest.approx(expected, rel=1e-12)
    many = rows(20)
    unit = many / many.norm(dim=1, keepdim=True)
    by_pairs = torch.pdist(unit).square().mul(-2).exp().mean().log()
    torch.testing.assert_close(uniformity_loss(many), by_pairs, rtol=1e-12, atol=0)
    assert uniformity(many) == uniformity_loss(many)  # what a run's log shows is what is learned
    assert uniformity_loss(torch.ones(3, 2)).item() == pytest.approx(0.0, abs=1e-6)


def test_gradient_and_mean_over_views() -> None:
    regularizer = Uniformity(UniformityConfig(weight=0.3))
    assert regularizer.weight == 0.3
    view1, view2 = rows(6), rows(7)[1:] * 2
    expected = (uniformity_loss(view1) + uniformity_loss(view2)) / 2
    torch.testing.assert_close(regularizer([], [view1, view2]), expected)
    view1.requires_grad_()
    assert torch.autograd.gradcheck(lambda view: regularizer([], [view, view2]), view1)


@pytest.mark.parametrize("batch", [torch.ones(2, 4), torch.tensor([[1.0, 0], [-1, 0]]), torch.zeros(2, 3)])
def test_two_clips_are_finite_and_one_is_refused(batch: Tensor) -> None:
    regularizer = Uniformity(UniformityConfig())
    batch = batch.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        penalty = regularizer([], [batch.bfloat16()])
        penalty.backward()
    assert penalty.dtype == torch.float32
    assert batch.grad is not None
    assert torch.isfinite(torch.cat([penalty.detach().reshape(1), batch.grad.flatten()])).all()
    with pytest.raises(UsageError, match="2 or more"):
        regularizer([], [batch[:1]])


def test_descent_spreads_the_rows() -> None:
    """From a narrow cone to nearly what independent directions have."""
    z = (rows(32, 8) * 0.1 + 1).requires_grad_()
    start = uniformity(z).item()
    optimizer = torch.optim.Adam([z], 0.05)
    for _ in range(60):
        optimizer.zero_grad()
        uniformity_loss(z).backward()
        optimizer.step()
    assert start > -0.2
    assert uniformity(z).item() < uniformity(rows(32, 8)).item()


def test_only_what_is_asked_for_is_made() -> None:
    assert len(create_regularizers(RegularizersConfig())) == 0
    assert list(create_regularizers(RegularizersConfig(uniformity=UniformityConfig()))) == ["uniformity"]
    with pytest.raises(UsageError, match=r"uniformity\.weight"):
        UniformityConfig(weight=-1)
