"""Our dropout against nn.Dropout's contract: rate, scale, independence, gradient, and nothing in evaluation."""

from __future__ import annotations

import pytest
import torch

from byol_a.encoders.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rate_and_scale(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    out = Dropout(p)(torch.ones(1001, 999, dtype=dtype)).float()
    n = out.numel()
    kept = out > 0
    assert kept.float().mean().item() == pytest.approx(1 - p, abs=5 * (p * (1 - p) / n) ** 0.5)
    torch.testing.assert_close(out[kept], torch.full_like(out[kept], 1 / (1 - p)), rtol=1e-2, atol=0)


def test_neighbours_are_independent() -> None:
    """Each 64-bit draw decides on four neighbours: all pairs at distances 1 to 4 must be uncorrelated."""
    torch.manual_seed(0)
    kept = (Dropout(0.3)(torch.ones(400_000)) > 0).double() - 0.7
    for distance in range(1, 5):
        correlation = (kept[:-distance] * kept[distance:]).mean() / 0.21
        assert abs(correlation.item()) < 5 / len(kept) ** 0.5


def test_gradient_is_the_mask_and_draws_follow_the_global_seed() -> None:
    x = torch.randn(37, 5, requires_grad=True)
    dropout = Dropout(0.5)
    torch.manual_seed(3)
    out = dropout(x)
    out.sum().backward()
    torch.testing.assert_close(out, x * x.grad)
    torch.manual_seed(3)
    assert torch.equal(dropout(x), out)
    assert not torch.equal(dropout(x), out)


def test_evaluation_and_the_edges_change_nothing() -> None:
    x = torch.randn(8, 3)
    assert torch.equal(Dropout(0.3).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(1.0)(x), torch.zeros_like(x))
    assert Dropout(0.3)(torch.empty(0, 3)).shape == (0, 3)
