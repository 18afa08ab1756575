"""What the processes of a run share inside a method: rows of a batch, and sums over it.

A method's loss may look at the whole batch (pairs of clips, a covariance). Where several processes share the batch
these functions let it; in a single process they return what they are given.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number among them, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def gather_rows(x: Tensor) -> Tensor:
    """The rows (B, P) of every process, (processes x B, P) in rank order; each must bring as many.

    Differentiable. Every process is expected to compute the same loss of all rows, and data-parallel training to
    average the gradients of parameters: the gradient here is the sum over the processes' losses, so that the average is
    the gradient of that one loss.
    """
    gathered: Tensor = _GatherRows.apply(x) if world_size() > 1 else x
    return gathered


def sum_over_processes(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Elementwise sums over the processes, in one exchange; without gradient. The tensors must share one type."""
    if world_size() == 1:
        return tensors
    flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
    dist.all_reduce(flat)
    parts = flat.split([tensor.numel() for tensor in tensors])
    return tuple(part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True))


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        rows = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(world_size())]
        dist.all_gather(rows, x.contiguous())
        return torch.cat(rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (total,) = sum_over_processes(grad)
        start = rank() * ctx.rows
        return total[start : start + ctx.rows]
