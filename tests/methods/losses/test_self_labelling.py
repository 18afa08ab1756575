"""CCSL and CSSL: the formulas by hand and by a loop over pairs, the guard, the masks and the warm-up."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from byol_a.errors import UsageError
from byol_a.methods.losses import CCSLConfig, CSSLConfig, create_loss, regression_loss
from byol_a.methods.losses.self_labelling import SelfLabelling, SelfLabellingConfig


def loss_of(config: SelfLabellingConfig) -> SelfLabelling:
    loss = create_loss(config)
    assert isinstance(loss, SelfLabelling)
    return loss


def directions(*degrees: float) -> Tensor:
    """Rows in the plane, at these angles, of different lengths."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    lengths = torch.arange(1, len(degrees) + 1, dtype=torch.float64)[:, None]
    return torch.stack([angles.cos(), angles.sin()], dim=1) * lengths


def rows(batch: int, size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Predictions and targets in two loose groups, so that there are pairs of each kind."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(2, size, generator=generator, dtype=torch.float64)
    noise = 0.45 * torch.randn(2, batch, size, generator=generator, dtype=torch.float64)
    p, z = centre[torch.arange(batch) % 2] + noise
    return p, z


def by_loop(p: Tensor, z: Tensor, config: SelfLabellingConfig) -> tuple[float, int, int]:
    """The loss by its definition, pair by pair; and how many positives and negatives there are off the diagonal."""
    scale = getattr(config, "scale", 1.0)
    own, positive, negative = [], [], []
    for i in range(len(p)):
        for j in range(len(z)):
            s = (p[i] @ z[j] / p[i].norm() / z[j].norm()).item()
            sigmoid = 1 / (1 + math.exp(-scale * s))
            pull = 2 - 2 * s if config.name == "ccsl" else -math.log(sigmoid)
            push = max(0.0, s) if config.name == "ccsl" else -math.log(1 - sigmoid)
            if i == j:
                own.append(pull)
            elif s >= config.positive:
                positive.append(pull)
            elif s <= config.negative:
                negative.append(push)
    weight = 1 / len(own) if not config.guard else min(1 / len(own), 1 / max(len(positive), 1))
    pulled = (sum(own) / len(own) + weight * sum(positive)) / (1 + weight * len(positive))
    return pulled + sum(negative) / max(len(negative), 1), len(positive), len(negative)


def test_three_clips_by_hand() -> None:
    """Clips 1 and 2 are alike, 3 is at right angles to 1, 60 degrees (to be ignored) from 2."""
    p, z = directions(0, 30, 90), directions(0, 30, 90)
    # positives: three own pairs at 0, two at 30 degrees; negatives: (1, 3) and (3, 1); ignored: (2, 3) and (3, 2)
    loss, logged = loss_of(CCSLConfig())(p, z)
    assert loss.item() == pytest.approx(2 * (2 - math.sqrt(3)) / 5)
    assert logged["share_positive"].item() == pytest.approx(2 / 6)
    assert logged["share_negative"].item() == pytest.approx(2 / 6)
    loss, _ = loss_of(CSSLConfig())(p, z)
    pulled = (3 * math.log1p(math.exp(-1)) + 2 * math.log1p(math.exp(-math.sqrt(0.75)))) / 5
    assert loss.item() == pytest.approx(pulled + math.log(2))


@pytest.mark.parametrize(
    "config",
    [
        CCSLConfig(),
        CCSLConfig(guard=False),
        CSSLConfig(),
        CSSLConfig(guard=False, scale=3.0, positive=0.7, negative=0.4),
    ],
)
def test_it_equals_a_loop_over_pairs_and_has_its_gradient(config: SelfLabellingConfig) -> None:
    p, z = rows(9, 5)
    expected, positives, negatives = by_loop(p, z, config)
    assert positives > 9, "the guard has nothing to do"
    assert negatives > 0
    loss, logged = loss_of(config)(p, z)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    assert logged["share_positive"].item() == pytest.approx(positives / 72)
    assert logged["share_negative"].item() == pytest.approx(negatives / 72)
    # Differences see a mask that moves no row as a constant, which it must be for autograd, too.
    p.requires_grad_()
    assert torch.autograd.gradcheck(lambda prediction: loss_of(config)(prediction, z)[0], p)
    assert loss_of(config)(p, z)[0].grad_fn is not None


def test_the_guard_bounds_what_other_clips_weigh() -> None:
    """Ten clips in one direction, one of them with a bad target, which many good pairs would drown."""
    p, z = directions(*[0.0] * 10), directions(*[0.0] * 9, 180)
    # own pairs: nine at loss 0, one at 4; other positives: 81 at 0; negatives: nine at cosine -1, which cost nothing
    assert loss_of(CCSLConfig(guard=True))(p, z)[0].item() == pytest.approx(0.4 / 2)
    assert loss_of(CCSLConfig(guard=False))(p, z)[0].item() == pytest.approx(4 / 91)
    # Fewer others than clips count one by one, with or without it.
    few = directions(0, 10, 90), directions(0, 10, 90)
    assert loss_of(CCSLConfig(guard=True))(*few)[0] == loss_of(CCSLConfig(guard=False))(*few)[0]


def test_ccsl_without_pairs_of_different_clips_is_byol() -> None:
    p, z = rows(8, 5)
    ccsl = loss_of(CCSLConfig(positive=1.0, negative=-1.0))
    p.requires_grad_()
    (gradient,) = torch.autograd.grad(ccsl(p, z)[0], p)
    (expected,) = torch.autograd.grad(regression_loss(p, z).mean(), p)
    torch.testing.assert_close(ccsl(p, z)[0], regression_loss(p, z).mean(), rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("config", [CCSLConfig(), CSSLConfig()])
@pytest.mark.parametrize(
    ("p", "z"),
    [
        (torch.ones(1, 3), -torch.ones(1, 3)),  # one clip, with no others, far from its own target
        (torch.ones(4, 3), torch.ones(4, 3)),  # all alike: no negatives
        (torch.ones(4, 3), -torch.ones(4, 3)),  # no positives but their own
        (torch.zeros(4, 3), torch.zeros(4, 3)),
        (torch.full((4, 3), 1e30), torch.full((4, 3), 1e-30)),
    ],
)
def test_extreme_batches_are_finite(config: SelfLabellingConfig, p: Tensor, z: Tensor) -> None:
    p = p.clone().requires_grad_()
    loss, logged = loss_of(config)(p, z)
    loss.backward()
    assert p.grad is not None
    assert all(torch.isfinite(value).all() for value in (loss, p.grad, *logged.values()))


@pytest.mark.parametrize("make", [CCSLConfig, CSSLConfig])
def test_warm_up_is_plain_byol_and_ends(make: Any) -> None:
    p, z = rows(6, 5)
    loss = loss_of(make(warmup_steps=3))
    byol = regression_loss(p, z).mean()
    for step in range(5):
        loss.begin_step(step, 10)
        value, logged = loss(p, z)
        assert (value == byol) == (step < 3)
        assert logged.keys() == {"share_positive", "share_negative"}
    torch.testing.assert_close(loss(p, z)[0], loss_of(make())(p, z)[0])
    # The other reading adds it.
    torch.testing.assert_close(loss_of(make(beside_byol=True))(p, z)[0], loss(p, z)[0] + byol)


@pytest.mark.parametrize(
    "settings", [{"positive": 0.2, "negative": 0.8}, {"positive": 1.1}, {"warmup_steps": -1}, {"scale": 0.0}]
)
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"method.loss.*{next(iter(settings))}"):
        CSSLConfig(**settings)
