"""Optimisers and schedules against formulas and torch's own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from byol_a.errors import UsageError
from byol_a.training.optimizers import LARS, OptimizerConfig, build_optimizer, learning_rate


def test_constant_rate_after_a_linear_warm_up() -> None:
    config = OptimizerConfig(lr=1.0, warmup_steps=4)
    assert [learning_rate(config, step, 100) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_cosine_rate_falls_to_zero_after_the_warm_up() -> None:
    config = OptimizerConfig(lr=2.0, warmup_steps=10, schedule="cosine")
    assert learning_rate(config, 10, 110) == 2.0
    assert learning_rate(config, 60, 110) == pytest.approx(1.0)
    assert learning_rate(config, 35, 110) == pytest.approx(1 + math.cos(math.pi / 4))
    assert learning_rate(config, 110, 110) == pytest.approx(0.0)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "lars"])
def test_every_optimizer_moves_what_takes_a_gradient_alone(name: str) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    module[0].requires_grad_(False)
    before = [parameter.clone() for parameter in module.parameters()]
    optimizer = build_optimizer(OptimizerConfig(name=name, lr=0.1), module)  # type: ignore[arg-type]
    module(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    moved = [not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True)]
    assert moved == [False, False, True, True]


def test_lars_by_hand_and_plain_sgd_for_biases() -> None:
    torch.manual_seed(0)
    weight, bias = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(4))
    expected_weight, expected_bias = weight.detach().clone(), bias.detach().clone()
    optimizer = LARS([weight, bias], lr=0.2, weight_decay=0.1, momentum=0.9)
    momentum_weight, momentum_bias = torch.zeros(4, 3), torch.zeros(4)
    for step in range(3):
        weight.grad, bias.grad = torch.full((4, 3), 0.3 + step), torch.full((4,), 0.5)
        update = weight.grad + 0.1 * expected_weight
        update = update * 1e-3 * expected_weight.norm() / update.norm()
        momentum_weight = 0.9 * momentum_weight + update
        momentum_bias = 0.9 * momentum_bias + bias.grad
        expected_weight = expected_weight - 0.2 * momentum_weight
        expected_bias = expected_bias - 0.2 * momentum_bias
        optimizer.step()
        torch.testing.assert_close(weight.detach(), expected_weight)
        torch.testing.assert_close(bias.detach(), expected_bias)


def test_lars_moves_a_weight_of_zeros() -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.ones(2, 2)
    LARS([weight], lr=0.1).step()
    assert torch.equal(weight.detach(), torch.full((2, 2), -0.1))


@pytest.mark.parametrize("values", [{"lr": 0}, {"momentum": 1.0}, {"clip_norm": 0}, {"warmup_steps": -1}])
def test_impossible_settings_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="optimizer"):
        OptimizerConfig(**values)  # type: ignore[arg-type]
