"""BYOL: the loss by hand, the target's rules, the schedules, and that it learns."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from byol_a.encoders import create_encoder
from byol_a.errors import UsageError
from byol_a.methods import BYOL, BYOLConfig, HeadConfig
from byol_a.methods.byol import regression_loss
from byol_a.methods.ema import cosine_tau, ema_update
from byol_a.methods.heads import mlp_head

SMALL = BYOLConfig(projector=HeadConfig(hidden=32, out=8), predictor_hidden=16)


def small_byol(config: BYOLConfig = SMALL) -> BYOL:
    torch.manual_seed(0)
    return BYOL(create_encoder("AudioNTT2020", 16, embedding_dim=24), config)


def views(batch: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(2, batch, 1, 16, 32, generator=generator))  # type: ignore[return-value]


def test_regression_loss_is_two_minus_two_cosines() -> None:
    rng = np.random.default_rng(0)
    p, z = rng.standard_normal((2, 5, 7))
    cosine = (p * z).sum(1) / np.linalg.norm(p, axis=1) / np.linalg.norm(z, axis=1)
    np.testing.assert_allclose(regression_loss(torch.tensor(p), torch.tensor(z)), 2 - 2 * cosine, rtol=1e-5)


def test_loss_gradient_is_right_and_stops_at_the_target() -> None:
    p, z = torch.randn(2, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def loss(prediction: torch.Tensor) -> torch.Tensor:
        return 2 - 2 * nn.functional.cosine_similarity(prediction, z, dim=-1)

    assert torch.autograd.gradcheck(loss, p.requires_grad_())
    byol = small_byol()
    byol(*views()).loss.backward()
    assert all(parameter.grad is None for parameter in byol.target.parameters())
    for network in (byol.online, byol.predictor):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name


def test_the_loss_is_the_symmetric_sum_of_its_parts() -> None:
    byol = small_byol()
    byol.online.encoder.fc[2].p = byol.target.encoder.fc[2].p = 0.0  # dropout draws differ from call to call
    view1, view2 = views()
    with torch.no_grad():
        p1, p2 = (byol.predictor(byol.online(view)[1]) for view in (view1, view2))
        z1, z2 = (byol.target(view)[1] for view in (view1, view2))
        expected = (regression_loss(p1, z2) + regression_loss(p2, z1)).mean()
        torch.testing.assert_close(byol(view1, view2).loss, expected)
        torch.testing.assert_close(byol(view2, view1).loss, expected)


def test_target_starts_equal_runs_in_training_mode_and_keeps_its_own_statistics() -> None:
    byol = small_byol()
    for name, parameter in byol.online.state_dict().items():
        torch.testing.assert_close(byol.target.state_dict()[name], parameter)
    byol.train()
    assert all(module.training for module in byol.target.modules())
    before = copy.deepcopy(byol.target.state_dict())
    byol(*views())
    buffers = dict(byol.target.named_buffers())
    assert not torch.equal(buffers["encoder.features.1.running_mean"], before["encoder.features.1.running_mean"])
    mean = buffers["encoder.features.1.running_mean"].clone()
    byol.update_target(0, 10)
    assert torch.equal(dict(byol.target.named_buffers())["encoder.features.1.running_mean"], mean)


@pytest.mark.parametrize("tau", [0.0, 0.9, 1.0])
def test_ema_by_hand(tau: float) -> None:
    torch.manual_seed(0)
    online, target = nn.Linear(3, 4).double(), nn.Linear(3, 4).double()
    expected = [
        tau * xi.detach() + (1 - tau) * theta.detach()
        for xi, theta in zip(target.parameters(), online.parameters(), strict=True)
    ]
    ema_update(target, online, tau)
    for parameter, value in zip(target.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.detach(), value, rtol=1e-14, atol=1e-15)


def test_cosine_tau_goes_from_base_to_one() -> None:
    assert cosine_tau(0, 100, 0.99) == pytest.approx(0.99)
    assert cosine_tau(50, 100, 0.99) == pytest.approx(0.995)
    assert cosine_tau(100, 100, 0.99) == 1.0
    assert cosine_tau(25, 100, 0.99) == pytest.approx(1 - 0.01 * (math.cos(math.pi / 4) + 1) / 2)
    byol = small_byol(BYOLConfig(projector=SMALL.projector, predictor_hidden=16, tau=0.9, tau_schedule="cosine"))
    assert byol.tau(0, 10) < byol.tau(5, 10) < byol.tau(10, 10)
    assert small_byol().tau(7, 10) == 0.99


def test_head_is_the_papers() -> None:
    head = mlp_head(3072, 4096, 256)
    assert [type(layer) for layer in head] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert (head[1].eps, head[1].momentum) == (1e-5, 0.1)
    assert sum(parameter.numel() for parameter in head.parameters()) == 3072 * 4096 + 4096 * 3 + 4096 * 256 + 256


def test_learning_lowers_the_loss_and_no_target_motion_is_another_thing() -> None:
    """Trained for a few steps on fixed views the loss falls; with tau 1 the target never moves."""
    byol = small_byol(BYOLConfig(projector=SMALL.projector, predictor_hidden=16, tau=1.0))
    before = copy.deepcopy(dict(byol.target.named_parameters()))
    optimizer = torch.optim.Adam([p for p in byol.parameters() if p.requires_grad], 3e-3)
    losses = []
    for step in range(30):
        loss = byol(*views(16)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        byol.update_target(step, 30)
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.8 * losses[0]
    for name, parameter in byol.target.named_parameters():
        assert torch.equal(parameter, before[name])


@pytest.mark.parametrize("tau", [-0.1, 1.1])
def test_impossible_settings_are_refused(tau: float) -> None:
    with pytest.raises(UsageError, match=r"\[0, 1\]"):
        BYOLConfig(tau=tau)
    with pytest.raises(UsageError, match="head"):
        HeadConfig(hidden=0)
