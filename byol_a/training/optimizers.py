"""Optimisers and learning-rate schedules, LARS among them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from byol_a.errors import UsageError


@dataclass
class OptimizerConfig:
    """Optimiser, peak learning rate and its course.

    `schedule` cosine falls from `lr` to 0 at the last step; `warmup_steps` rise linearly to `lr` before it.
    `clip_norm` bounds the gradient's global L2 norm; null leaves it alone. `momentum` is for sgd and lars.
    """

    name: Literal["adam", "adamw", "sgd", "lars"] = "adam"
    lr: float = 3e-4
    weight_decay: float = 0.0
    momentum: float = 0.9
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = 0
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.lr < math.inf:
            raise UsageError(f"optimizer.lr must be positive, not {self.lr}")
        if not 0 <= self.weight_decay < math.inf or not 0 <= self.momentum < 1 or self.warmup_steps < 0:
            raise UsageError(
                "optimizer.weight_decay and optimizer.warmup_steps must be at least 0, optimizer.momentum in [0, 1)"
            )
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise UsageError(f"optimizer.clip_norm must be positive or null, not {self.clip_norm}")


def build_optimizer(config: OptimizerConfig, module: nn.Module) -> Optimizer:
    """The optimiser over the parameters of `module` that take a gradient, in its fused form where there is one."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    options: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.name == "adam":
        return torch.optim.Adam(parameters, fused=True, **options)
    if config.name == "adamw":
        return torch.optim.AdamW(parameters, fused=True, **options)
    if config.name == "sgd":
        return torch.optim.SGD(parameters, momentum=config.momentum, fused=True, **options)
    return LARS(parameters, momentum=config.momentum, **options)


def learning_rate(config: OptimizerConfig, step: int, total_steps: int) -> float:
    """The learning rate of optimiser step `step` (counted from 0) of `total_steps`."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    progress = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    return config.lr * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017, arXiv 1708.03888), as BYOL uses it.

    Each weight's step is scaled by `trust * |w| / |g + wd w|`, then enters momentum SGD. One-dimensional
    parameters (biases and batch norm) take plain momentum SGD without weight decay (BYOL, appendix B).
    """

    def __init__(
        self,
        params: Iterable[Tensor],
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
                if parameter.ndim > 1:
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
                parameter.add_(buffer, alpha=-group["lr"])
        return loss
