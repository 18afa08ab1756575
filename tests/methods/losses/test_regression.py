"""BYOL's loss by hand, its type, and how losses are asked for by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from byol_a.config import build
from byol_a.errors import UsageError
from byol_a.methods.byol import BYOLConfig
from byol_a.methods.losses import LOSSES, CSSLConfig, create_loss, loss_entry, regression_loss


def test_it_is_two_minus_two_cosines_row_by_row() -> None:
    p, z = np.random.default_rng(0).standard_normal((2, 5, 7))
    cosine = (p * z).sum(1) / np.linalg.norm(p, axis=1) / np.linalg.norm(z, axis=1)
    rows = regression_loss(torch.tensor(p), torch.tensor(z))
    assert rows.dtype == torch.float64
    np.testing.assert_allclose(rows, 2 - 2 * cosine, rtol=1e-12)
    loss, logged = create_loss(LOSSES["byol"][0]())(torch.tensor(p), torch.tensor(z))
    assert logged == {}
    assert loss.item() == pytest.approx((2 - 2 * cosine).mean())
    # Same, right-angled and opposite directions, at any length.
    hand = regression_loss(torch.tensor([[3.0, 0], [1, 0], [2, 0]]), torch.tensor([[1.0, 0], [0, 5], [-1, 0]]))
    assert hand.tolist() == [0.0, 2.0, 4.0]


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_of_bfloat16_is_float32_and_its_gradient_stops_at_the_target(name: str) -> None:
    p, z = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0), requires_grad=True).bfloat16()
    p.retain_grad()
    z.retain_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss, logged = create_loss(loss_entry(name)[0]())(p, z.detach())
        loss.backward()
    assert loss.dtype == torch.float32
    exact, _ = create_loss(loss_entry(name)[0]())(p.detach().double(), z.detach().double())
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)
    assert p.grad is not None
    assert z.grad is None
    assert not any(value.requires_grad for value in logged.values())


def test_a_loss_is_named_in_a_recipe() -> None:
    config = build(BYOLConfig, {"loss": {"name": "ccsl", "positive": 0.7}}, "test")
    assert create_loss(config.loss).config == LOSSES["ccsl"][0](positive=0.7)  # type: ignore[call-arg]
    assert create_loss(build(BYOLConfig, {"loss": "cssl"}, "test").loss).config == LOSSES["cssl"][0]()
    with pytest.raises(UsageError, match="did you mean 'ccsl'"):
        loss_entry("ccls")
    with pytest.raises(UsageError, match="scale"):
        build(BYOLConfig, {"loss": {"name": "ccsl", "scale": 2}}, "test")


def test_a_name_must_fit_its_configuration() -> None:
    with pytest.raises(UsageError, match="'ccsl' is configured by CCSLConfig, not by CSSLConfig"):
        create_loss(CSSLConfig(name="ccsl"))
