"""Exponential moving average of parameters, and the schedules of its rate tau."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


@torch.no_grad()
def ema_update(target: nn.Module, online: nn.Module, tau: float) -> None:
    """`xi <- tau xi + (1 - tau) theta` over all parameters in one fused call (BYOL, eq. 1).

    Buffers are left alone: the target keeps batch-norm statistics of its own.
    """
    xi: list[Tensor] = list(target.parameters())
    theta: list[Tensor] = [parameter.detach() for parameter in online.parameters()]
    torch._foreach_lerp_(xi, theta, 1.0 - tau)


def cosine_tau(step: int, total_steps: int, tau_base: float) -> float:
    """`1 - (1 - tau_base) (cos(pi k / K) + 1) / 2`, from `tau_base` up to 1 (BYOL, section 3.2)."""
    return 1.0 - (1.0 - tau_base) * (math.cos(math.pi * step / total_steps) + 1.0) / 2.0
