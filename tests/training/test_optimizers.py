"""Optimisers and schedules against formulas and torch's own."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from byol_a.config import apply_overrides, build
from byol_a.encoders.variational import gaussians, make_variational
from byol_a.errors import UsageError
from byol_a.training.config import PretrainConfig
from byol_a.training.optimizers import LARS, OptimizerConfig, build_optimizer, learning_rate
from byol_a.training.pretrain import pretrain, resume
from byol_a.training.run_folder import RunFolder

from . import small


def test_constant_rate_after_a_linear_warm_up() -> None:
    config = OptimizerConfig(lr=1.0, warmup_steps=4)
    assert [learning_rate(config, step, 100) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_a_warm_up_in_epochs_is_counted_in_steps_unless_steps_are_given() -> None:
    assert OptimizerConfig(warmup_epochs=10).in_steps(7.5).warmup_steps == 75
    assert OptimizerConfig(warmup_epochs=10, warmup_steps=0).in_steps(7.5).warmup_steps == 0
    assert OptimizerConfig().in_steps(7.5).warmup_steps == 0


def test_a_run_warms_up_for_the_epochs_of_its_own_data_and_says_if_it_ends_before(
    tmp_path: Path, write_wav: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(12):
        write_wav(tmp_path / "data" / f"{number}.wav", seconds=0.5, seed=number)
    changes = ["optimizer.warmup_epochs=2", "training.steps=2", "data.workers=0"]
    config = build(PretrainConfig, apply_overrides(small.values(), changes), "test")
    pretrain(config, [tmp_path / "data"], tmp_path / "run", device="cpu")
    assert "rises for 3 steps, longer than the run of 2" in capsys.readouterr().out
    resume(replace(config, training=replace(config.training, steps=4)), tmp_path / "run", device="cpu")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    # Two epochs of 12 clips are three steps of 8.
    assert [row["lr"] for row in rows] == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3, 1e-3])
    assert RunFolder(tmp_path / "run").config().optimizer.warmup_epochs == 2


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


class Network(nn.Module):
    """A convolution, a norm, a variational linear layer, and a weight more."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm, self.linear = nn.Conv2d(2, 3, 2), nn.GroupNorm(1, 3), nn.Linear(3, 4)
        self.rho = nn.Parameter(torch.ones(2, 2))  # a weight of somebody's own, whatever its name
        make_variational(self.linear)


def reference_lars(
    w: np.ndarray, gradients: list[np.ndarray], rates: list[float], wd: float, excluded: bool, you_et_al: bool = False
) -> np.ndarray:
    """The published update in float64: You et al. 2017, eq. 6 and algorithm 1, or as in BYOL's code."""
    m = np.zeros_like(w)
    norm = np.linalg.norm
    for g, rate in zip(gradients, rates, strict=True):
        if excluded:
            m = 0.9 * m + g
            w = w - rate * m
        elif you_et_al:
            m = 0.9 * m + rate * 1e-3 * norm(w) / (norm(g) + wd * norm(w)) * (g + wd * w)
            w = w - m
        else:
            update = g + wd * w
            m = 0.9 * m + 1e-3 * norm(w) / norm(update) * update
            w = w - rate * m
    return w


def descend(
    network: nn.Module, gradients: dict[str, list[np.ndarray]], rates: list[float], wd: float
) -> dict[str, np.ndarray]:
    """The parameters after LARS steps down the given gradients; the state is saved and restored on the way."""
    config = OptimizerConfig(name="lars", lr=1.0, weight_decay=wd)
    optimizer = build_optimizer(config, network)
    for step, rate in enumerate(rates):
        for name, parameter in network.named_parameters():
            parameter.grad = torch.from_numpy(gradients[name][step].copy())
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        state = optimizer.state_dict()
        optimizer = build_optimizer(config, network)
        optimizer.load_state_dict(state)
    return {name: parameter.detach().numpy() for name, parameter in network.named_parameters()}


def test_lars_is_the_published_update() -> None:
    torch.manual_seed(0)
    network = Network().double()
    before = {name: parameter.detach().numpy().copy() for name, parameter in network.named_parameters()}
    rng = np.random.default_rng(0)
    gradients = {name: [rng.standard_normal(value.shape) for _ in range(6)] for name, value in before.items()}
    rates = [0.1, 0.2, 0.2, 0.15, 0.1, 0.05]
    after = descend(network, gradients, rates, wd=0.3)
    for name, value in before.items():
        excluded = value.ndim == 1 or name == "linear.parametrizations.weight.0.rho"
        expected = reference_lars(value, gradients[name], rates, 0.3, excluded)
        np.testing.assert_allclose(after[name], expected, rtol=1e-12, atol=1e-14, err_msg=name)


def test_lars_of_byol_and_of_its_paper_differ_by_the_weight_decay_alone() -> None:
    network = nn.Linear(5, 4, bias=False).double()
    before = network.weight.detach().numpy().copy()
    gradients = list(np.random.default_rng(1).standard_normal((20, 4, 5)))
    rates = [0.2] * 20
    paper = reference_lars(before, gradients, rates, 1.5e-6, excluded=False, you_et_al=True)
    after = descend(network, {"weight": gradients}, rates, wd=1.5e-6)["weight"]
    assert np.linalg.norm(after - paper) < 1e-5 * np.linalg.norm(after - before)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "lars"])
def test_decay_leaves_the_deviations_of_weights_alone(name: str) -> None:
    network = Network()
    ((mean, gaussian),) = gaussians(network)
    kept, decayed = [gaussian.rho], [mean, network.rho, network.convolution.weight]
    before = [parameter.detach().clone() for parameter in (*kept, *decayed)]
    optimizer = build_optimizer(OptimizerConfig(name=name, lr=0.1, weight_decay=0.1), network)  # type: ignore[arg-type]
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    same = [torch.equal(a, b) for a, b in zip(before, (*kept, *decayed), strict=True)]
    assert same == [True, False, False, False]


def test_lars_moves_a_weight_of_zeros() -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.ones(2, 2)
    LARS([weight], lr=0.1).step()
    assert torch.equal(weight.detach(), torch.full((2, 2), -0.1))


@pytest.mark.parametrize(
    "values",
    [{"lr": 0}, {"momentum": 1.0}, {"clip_norm": 0}, {"warmup_steps": -1}, {"warmup_epochs": float("nan")}],
)
def test_impossible_settings_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="optimizer"):
        OptimizerConfig(**values)  # type: ignore[arg-type]
