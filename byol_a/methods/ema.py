"""Exponential moving average of parameters, and the schedules of its rate tau."""

from __future__ import annotations

import copy
import math
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)
# What torch calls the parameter behind a computed weight: the mean of a variational one, say.
_UNDERLYING = ".parametrizations.weight.original"


def make_target(online: Network) -> Network:
    """A copy of a network that no gradient reaches."""
    return copy.deepcopy(online).requires_grad_(False)


@torch.no_grad()
def ema_update(target: nn.Module, online: nn.Module, tau: float) -> None:
    """`xi <- tau xi + (1 - tau) theta` over all of the target's parameters in one fused call (BYOL, eq. 1).

    For methods of your own; where steps are recorded (`Method.recordable`) `tau` stays what it was, and `follow` with a
    tensor takes its place.

    Parameters go together by name; what the online network has beside them, such as the deviations of its weights, has
    no part in it. Buffers are left alone: the target keeps batch-norm statistics of its own.
    """
    follow(target, online, 1.0 - tau)


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, share: float | Tensor) -> None:
    """`xi <- xi + share (theta - xi)`: `ema_update` by the share `1 - tau`, in a few fused calls.

    Args:
        target: with the parameters xi, which change.
        online: with the parameters theta, by the same names.
        share: a number, or a scalar tensor on the parameters' device, which nothing waits for.
    """
    theta = _by_name(online)
    xi = _by_name(target)
    averaged, towards = list(xi.values()), [theta[name] for name in xi]
    if isinstance(share, Tensor):  # of which lerp would make a call for each parameter
        steps = torch._foreach_sub(towards, averaged)
        torch._foreach_mul_(steps, share)
        torch._foreach_add_(averaged, steps)
    else:
        torch._foreach_lerp_(averaged, towards, share)


def cosine_tau(step: int, total_steps: int, tau_base: float) -> float:
    """`1 - (1 - tau_base) (cos(pi k / K) + 1) / 2`, from `tau_base` up to 1 (BYOL, section 3.2)."""
    return 1.0 - (1.0 - tau_base) * (math.cos(math.pi * step / total_steps) + 1.0) / 2.0


def _by_name(network: nn.Module) -> dict[str, Tensor]:
    return {name.replace(_UNDERLYING, ".weight"): parameter.detach() for name, parameter in network.named_parameters()}
