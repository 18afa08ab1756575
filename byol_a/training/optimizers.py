"""Optimisers and learning-rate schedules, LARS among them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from byol_a.encoders.variational import gaussians
from byol_a.errors import UsageError


@dataclass
class OptimizerConfig:
    """Optimiser, peak learning rate and its course.

    `schedule` cosine falls from `lr` to 0 at the last step; before it the rate rises linearly to `lr`, for
    `warmup_epochs` passes over the data, or for `warmup_steps`, which wins where it is given. `clip_norm` bounds the
    gradient's global L2 norm; null leaves it alone. `momentum` is for sgd and lars.
    """

    name: Literal["adam", "adamw", "sgd", "lars"] = "adam"
    lr: float = 3e-4
    weight_decay: float = 0.0
    momentum: float = 0.9
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int | None = None
    warmup_epochs: float = 0.0
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.lr < math.inf:
            raise UsageError(f"optimizer.lr must be positive, not {self.lr}")
        if not 0 <= self.weight_decay < math.inf or not 0 <= self.momentum < 1:
            raise UsageError("optimizer.weight_decay must be at least 0, optimizer.momentum in [0, 1)")
        if not 0 <= self.warmup_epochs < math.inf or (self.warmup_steps or 0) < 0:
            raise UsageError("optimizer.warmup_steps and optimizer.warmup_epochs must be at least 0")
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise UsageError(f"optimizer.clip_norm must be positive or null, not {self.clip_norm}")

    def in_steps(self, steps_per_epoch: float) -> OptimizerConfig:
        """The same with the warm-up in optimiser steps, of which `steps_per_epoch` are one pass over the data."""
        if self.warmup_steps is not None:
            return self
        return replace(self, warmup_steps=round(self.warmup_epochs * steps_per_epoch))


def build_optimizer(config: OptimizerConfig, module: nn.Module) -> Optimizer:
    """The optimiser over the parameters of `module` that take a gradient, in its fused form where there is one.

    The deviations of variational weights (`rho`) are not weights: decay, which draws to 0, would make them noise of
    deviation 0.69, so they have none, nor LARS's scaling by a weight's norm.
    """
    rhos = {gaussian.rho for _, gaussian in gaussians(module)}
    weights: list[Tensor] = []
    deviations: list[Tensor] = []
    for parameter in module.parameters():
        if parameter.requires_grad:
            (deviations if parameter in rhos else weights).append(parameter)
    groups: list[dict[str, Any]] = [{"params": weights}]
    if deviations:
        groups.append({"params": deviations, "weight_decay": 0.0, "trust_coefficient": None})
    options: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.name == "adam":
        return torch.optim.Adam(groups, fused=True, **options)
    if config.name == "adamw":
        return torch.optim.AdamW(groups, fused=True, **options)
    if config.name == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum, fused=True, **options)
    return LARS(groups, momentum=config.momentum, **options)


def learning_rate(config: OptimizerConfig, step: int, total_steps: int) -> float:
    """The learning rate of optimiser step `step` (counted from 0) of `total_steps`; the warm-up is that in steps."""
    warmup = config.warmup_steps or 0
    if step < warmup:
        return config.lr * (step + 1) / warmup
    if config.schedule == "constant":
        return config.lr
    progress = (step - warmup) / max(1, total_steps - warmup)
    return config.lr * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017, arXiv 1708.03888), as BYOL's code has it.

    For a weight w with gradient g, `u = g + wd w` is scaled by `trust |w| / |u|` (by 1 if either norm is 0) and enters
    momentum SGD: `m <- momentum m + u`, `w <- w - lr m`. You et al. (eq. 6) divide by `|g| + wd |w|` in place of
    `|g + wd w|`, which differs by the weight decay's share at most, and have the rate inside the momentum.

    One-dimensional parameters, which are biases and the scales of norm layers, take plain momentum SGD without weight
    decay (BYOL, section 3.3); so do all of a group whose `trust_coefficient` is None.

    Args:
        params: parameters, or groups of them.
        lr: learning rate; BYOL's is 0.2 for each 256 clips of the batch.
        weight_decay: wd.
        momentum: in [0, 1).
        trust_coefficient: trust.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        trust_coefficient: float = 1e-3,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "trust_coefficient": trust_coefficient,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update; `closure` re-evaluates the loss where given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                update = parameter.grad
                if parameter.ndim > 1 and group["trust_coefficient"] is not None:
                    update = update.add(parameter, alpha=group["weight_decay"])
                    weight_norm, update_norm = parameter.norm(), update.norm()
                    ratio = group["trust_coefficient"] * weight_norm / update_norm
                    usable = (weight_norm > 0) & (update_norm > 0)
                    update = update * torch.where(usable, ratio, torch.ones_like(ratio))
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                buffer = state["momentum_buffer"]
                buffer.mul_(group["momentum"]).add_(update)
                rate = group["lr"]
                if isinstance(rate, Tensor):  # as a number it would have to be waited for
                    parameter.addcmul_(buffer, rate, value=-1)
                else:
                    parameter.add_(buffer, alpha=-rate)
        return loss
