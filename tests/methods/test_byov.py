"""BYOV: BYOL with variational weights, a target without noise, and the divergence from the prior."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import softplus

from byol_a.encoders.variational import gaussians, is_variational, make_variational
from byol_a.errors import UsageError
from byol_a.methods import BYOVConfig
from byol_a.methods.byov import BYOV

from .small import learn, small_method, views


def test_without_deviation_it_is_byol() -> None:
    byol, byov = small_method("byol"), small_method("byov", rho=-80.0, beta=0.0)
    byov.load_state_dict(_with_deviations_of(byov, byol.state_dict()))
    x = views()
    torch.testing.assert_close(byov(x).loss, byol(x).loss)


def _with_deviations_of(byov: BYOV, state: dict) -> dict:
    """BYOL's state dict, with the names and deviations of BYOV's."""
    own = byov.state_dict()
    return {name: state.get(name.replace(".parametrizations.weight.original", ".weight"), own[name]) for name in own}


@pytest.mark.parametrize(("kl", "weights"), [("sum", 1), ("mean", None)])
def test_the_loss_is_byols_plus_the_weighted_divergence(kl: str, weights: int | None) -> None:
    byov = small_method("byov", beta=0.01, prior_std=0.5, kl=kl, rho=-3.0)
    output = byov(views())
    trained = [*gaussians(byov.online), *gaussians(byov.predictor)]
    parts = [kl_divergence(Normal(mean, softplus(each.rho)), Normal(0.0, 0.5)).sum() for mean, each in trained]
    total = torch.stack(parts).sum() / (weights or sum(mean.numel() for mean, _ in trained))
    torch.testing.assert_close(output.terms["loss_kl"], 0.01 * total.detach())
    torch.testing.assert_close(output.loss.detach(), output.terms["loss_pairs"] + output.terms["loss_kl"])
    assert output.terms["sigma"].item() == pytest.approx(softplus(torch.tensor(-3.0)).item(), rel=1e-5)


def test_each_view_has_a_sample_of_its_own_and_the_target_none() -> None:
    byov = small_method("byov", rho=-2.0)
    draws: list[object] = []
    for _, gaussian in gaussians(byov):
        gaussian.register_forward_hook(lambda module, *_: draws.append(module))
    view = views()[0]
    projection1, projection2 = byov(torch.stack([view, view])).projections
    assert not torch.allclose(projection1, projection2)
    assert len(draws) == 2 * len(list(gaussians(byov))) == 2 * (5 + 2 + 2)
    assert not is_variational(byov.target)
    torch.testing.assert_close(byov.target(view)[1], byov.target(view)[1], rtol=0, atol=0)


def test_the_target_starts_at_the_means_and_follows_them() -> None:
    byov = small_method("byov", tau=0.75)
    online = dict(byov.online.named_parameters())
    names = {name: name.replace(".weight", ".parametrizations.weight.original") for name, _ in _named(byov)}
    names = {name: name if name in online else other for name, other in names.items()}
    assert all(torch.equal(xi, online[names[name]]) for name, xi in _named(byov))
    learn(byov, 1)
    before = copy.deepcopy(dict(_named(byov)))
    byov.end_step(1, 10)
    for name, xi in _named(byov):
        torch.testing.assert_close(xi.detach(), 0.75 * before[name] + 0.25 * online[names[name]].detach())


def _named(byov: BYOV) -> list[tuple[str, torch.nn.Parameter]]:
    return list(byov.target.named_parameters())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"predictor": "newton_schulz", "loss": "cssl"},
        {"regularizers": {"uniformity": {}, "mhe": {}}},
        {"projector": {"hidden": 32, "out": 8, "norm": {"kind": "layer", "weight_standardization": True}}},
    ],
)
def test_every_trained_parameter_gets_a_gradient_whatever_it_is_combined_with(settings: dict) -> None:
    byov = small_method("byov", **settings)
    byov.begin_step(0, 10)
    byov(views()).loss.backward()
    for name, parameter in byov.named_parameters():
        if name.startswith("target."):
            assert parameter.grad is None and not parameter.requires_grad
        else:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert all(torch.isfinite(torch.tensor(learn(byov, 3))))


def test_it_learns_and_an_encoder_of_ones_own_becomes_variational() -> None:
    byov = small_method("byov", tau=1.0, beta=0.0)
    losses = learn(byov, 25)
    assert sum(losses[-5:]) / 5 < 0.8 * losses[0]
    encoder = copy.deepcopy(byov.target.encoder).requires_grad_(True)
    assert is_variational(BYOV(encoder).encoder)
    make_variational(encoder, 1.0)
    assert BYOV(encoder, BYOVConfig(rho=-5.0)).encoder.fc[0].parametrizations.weight[0].rho.max() == -5.0


@pytest.mark.parametrize(
    "wrong", [{"rho": float("nan")}, {"rho": -81.0}, {"prior_std": 0.0}, {"beta": -1.0}, {"tau": 2.0}]
)
def test_impossible_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError, match=f"method.{next(iter(wrong))}"):
        BYOVConfig(**wrong)
