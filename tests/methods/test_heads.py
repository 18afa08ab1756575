"""Heads with each norm, and BYOL with them in trunk and heads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from byol_a.config import build
from byol_a.encoders import create_encoder
from byol_a.encoders.norms import NormConfig
from byol_a.errors import UsageError
from byol_a.methods import create_method, method_class
from byol_a.methods.heads import mlp_head
from tests.methods.small import learn, views


def test_the_norm_between_the_layers():
    kinds = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm, "group": nn.GroupNorm, "none": nn.Identity}
    for kind, layer in kinds.items():
        head = mlp_head(6, 8, 4, NormConfig(kind, groups=2))  # type: ignore[arg-type]
        assert [type(module) for module in head] == [nn.Linear, layer, nn.ReLU, nn.Linear]
        assert head(torch.randn(3, 6)).shape == (3, 4)
    with pytest.raises(UsageError, match="single units"):
        mlp_head(6, 8, 4, NormConfig("group", groups=8))


@pytest.mark.parametrize("scale", [True, "scaled"])
def test_both_weights_of_a_head_are_standardised(scale):
    head = mlp_head(6, 8, 4, NormConfig("layer", weight_standardization=scale))
    for layer in (head[0], head[3]):
        size = layer.weight.shape[1]
        deviation = torch.full((layer.weight.shape[0],), 1.0 if scale is True else size**-0.5)
        torch.testing.assert_close(layer.weight.std(1, correction=0), deviation, atol=1e-3, rtol=0)
        torch.testing.assert_close(layer.weight.mean(1), torch.zeros(len(layer.weight)), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("kind", "standardization"), [("layer", False), ("group", True), ("none", "scaled"), ("batch", "scaled")]
)
def test_byol_with_other_norms(kind, standardization):
    """The target begins as the online network and follows it; a state dict carries on."""

    def method():
        head_norm = {"kind": kind, "groups": 4, "weight_standardization": standardization}
        values = {
            "name": "byol",
            "projector": {"hidden": 32, "out": 8, "norm": head_norm},
            "predictor": {"hidden": 16, "norm": head_norm},
        }
        options = {"norm": kind, "norm_groups": 4, "weight_standardization": standardization}
        torch.manual_seed(0)
        encoder = create_encoder("AudioNTT2020", 16, embedding_dim=24, channels=8, **options)
        return create_method(build(method_class("byol").config_class, values, "test"), encoder).train()

    one, other = method(), method()
    start = {name: parameter.clone() for name, parameter in one.target.named_parameters()}
    assert all(torch.equal(value, dict(one.online.named_parameters())[name]) for name, value in start.items())
    assert torch.isfinite(torch.tensor(learn(one, 3))).all()
    online = dict(one.online.named_parameters())
    for name, parameter in one.target.named_parameters():
        assert not torch.equal(online[name], start[name])
        assert (parameter - start[name]).norm() < (online[name] - start[name]).norm()
    other.load_state_dict(one.state_dict())
    torch.manual_seed(1)
    expected = one(views()).loss
    torch.manual_seed(1)
    torch.testing.assert_close(other(views()).loss, expected, atol=0, rtol=0)
