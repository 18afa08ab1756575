"""BYOL: the loss by its parts, the target's rules, the schedules, and that it learns."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from byol_a.encoders import create_encoder
from byol_a.errors import UsageError
from byol_a.methods import BYOLConfig, HeadConfig, create_method
from byol_a.methods.ema import cosine_tau, ema_update, follow, make_target
from byol_a.methods.heads import mlp_head
from byol_a.methods.losses.regression import regression_loss

from .small import learn, small_method, views


def test_gradients_stop_at_the_target_and_reach_everything_else() -> None:
    byol = small_method()
    byol(views()).loss.backward()
    assert all(parameter.grad is None for parameter in byol.target.parameters())
    for network in (byol.online, byol.predictor):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name


def test_the_loss_is_the_symmetric_sum_of_its_parts() -> None:
    byol = small_method()
    view1, view2 = views()
    with torch.no_grad():
        p1, p2 = (byol.predictor(byol.online(view)[1]) for view in (view1, view2))
        z1, z2 = (byol.target(view)[1] for view in (view1, view2))
        expected = (regression_loss(p1, z2) + regression_loss(p2, z1)).mean()
        torch.testing.assert_close(byol(torch.stack([view1, view2])).loss, expected)
        torch.testing.assert_close(byol(torch.stack([view2, view1])).loss, expected)


def test_regularisers_are_added_with_their_weights_and_named() -> None:
    plain = small_method()
    penalised = small_method(regularizers={"uniformity": {"weight": 0.3}, "mhe": {"weight": 0.2}})
    output = penalised(views())
    terms = output.terms
    assert terms["loss_pairs"].item() == pytest.approx(plain(views()).loss.item(), rel=1e-6)
    total = terms["loss_pairs"] + terms["loss_uniformity"] + terms["loss_mhe"]
    assert output.loss.item() == pytest.approx(total.item(), rel=1e-6)
    doubled = small_method(regularizers={"uniformity": {"weight": 0.6}})(views()).terms
    assert doubled["loss_uniformity"].item() == pytest.approx(2 * terms["loss_uniformity"].item(), rel=1e-5)


def test_target_starts_equal_runs_in_training_mode_and_keeps_its_own_statistics() -> None:
    byol = small_method()
    for name, parameter in byol.online.state_dict().items():
        torch.testing.assert_close(byol.target.state_dict()[name], parameter)
    assert all(module.training for module in byol.target.modules())
    before = copy.deepcopy(byol.target.state_dict())
    byol(views())
    buffers = dict(byol.target.named_buffers())
    assert not torch.equal(buffers["encoder.features.1.running_mean"], before["encoder.features.1.running_mean"])
    mean = buffers["encoder.features.1.running_mean"].clone()
    byol.end_step(0, 10)
    assert torch.equal(dict(byol.target.named_buffers())["encoder.features.1.running_mean"], mean)


@pytest.mark.parametrize("in_tensor", [False, True])
@pytest.mark.parametrize("tau", [0.0, 0.9, 1.0])
def test_ema_by_hand(tau: float, in_tensor: bool) -> None:
    torch.manual_seed(0)
    online, target = nn.Linear(3, 4).double(), nn.Linear(3, 4).double()
    expected = [
        tau * xi.detach() + (1 - tau) * theta.detach()
        for xi, theta in zip(target.parameters(), online.parameters(), strict=True)
    ]
    if in_tensor:  # as where steps are recorded
        follow(target, online, torch.tensor(1 - tau, dtype=torch.float64))
    else:
        ema_update(target, online, tau)
    for parameter, value in zip(target.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.detach(), value, rtol=1e-14, atol=1e-15)


def test_a_target_follows_what_lies_behind_a_computed_weight() -> None:
    class Doubled(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return 2 * weight

    online = nn.Sequential(nn.Linear(3, 4))
    target = make_target(online)
    nn.utils.parametrize.register_parametrization(online[0], "weight", Doubled())
    with torch.no_grad():
        online[0].parametrizations.weight.original.fill_(5.0)
    ema_update(target, online, 0.0)
    assert torch.equal(target[0].weight, torch.full((4, 3), 5.0))


def test_cosine_tau_goes_from_base_to_one() -> None:
    assert cosine_tau(0, 100, 0.99) == pytest.approx(0.99)
    assert cosine_tau(50, 100, 0.99) == pytest.approx(0.995)
    assert cosine_tau(100, 100, 0.99) == 1.0
    assert cosine_tau(25, 100, 0.99) == pytest.approx(1 - 0.01 * (math.cos(math.pi / 4) + 1) / 2)
    rising = small_method(tau=0.9, tau_schedule="cosine")
    assert rising.rates(0, 10)["tau"] < rising.rates(5, 10)["tau"] < rising.rates(10, 10)["tau"]
    assert small_method().rates(7, 10) == {"tau": 0.99}


def test_head_is_the_papers() -> None:
    head = mlp_head(3072, 4096, 256)
    assert [type(layer) for layer in head] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert (head[1].eps, head[1].momentum) == (1e-5, 0.1)
    assert sum(parameter.numel() for parameter in head.parameters()) == 3072 * 4096 + 4096 * 3 + 4096 * 256 + 256


def test_learning_lowers_the_loss_and_with_tau_one_the_target_never_moves() -> None:
    byol = small_method(tau=1.0)
    before = copy.deepcopy(dict(byol.target.named_parameters()))
    losses = learn(byol, 30)
    assert np.mean(losses[-5:]) < 0.8 * losses[0]
    for name, parameter in byol.target.named_parameters():
        assert torch.equal(parameter, before[name])


@pytest.mark.parametrize("tau", [-0.1, 1.1])
def test_impossible_settings_are_refused(tau: float) -> None:
    with pytest.raises(UsageError, match=r"\[0, 1\]"):
        BYOLConfig(tau=tau)
    with pytest.raises(UsageError, match="head"):
        HeadConfig(hidden=0)


def test_a_name_must_fit_its_configuration() -> None:
    encoder = create_encoder("AudioNTT2020", 16, embedding_dim=8, channels=4)
    with pytest.raises(UsageError, match="'tribyol' is configured by TriBYOLConfig, not by BYOLConfig"):
        create_method(BYOLConfig(name="tribyol"), encoder)
