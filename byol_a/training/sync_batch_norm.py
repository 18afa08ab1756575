"""Batch norm over the clips of all processes: torch's own on GPUs, and one like it for CPUs, where torch has none."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from byol_a.errors import UsageError

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def synchronize_batch_norm(module: nn.Module, device: torch.device) -> None:
    """Replace every batch norm below `module` by one that normalises by the statistics of all processes.

    Parameters and buffers are handed over, and the keys of the state dict stay the same: a checkpoint goes from one
    process to several and back.

    Raises:
        UsageError: for a layer that is more than a batch norm, such as timm's batch norm with an activation.
    """
    kind = nn.SyncBatchNorm if device.type == "cuda" else SyncBatchNorm
    for parent in list(module.modules()):
        for name, norm in parent.named_children():
            if not isinstance(norm, _BatchNorm) or isinstance(norm, kind):
                continue
            if type(norm) not in PLAIN:
                raise UsageError(
                    f"training.sync_batch_norm cannot take the place of the encoder's {type(norm).__name__}; "
                    "leave it off, or choose another encoder"
                )
            setattr(parent, name, _converted(norm, kind))


def _converted(norm: _BatchNorm, kind: type[_BatchNorm]) -> _BatchNorm:
    synchronized = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    for name, parameter in norm.named_parameters(recurse=False):
        setattr(synchronized, name, parameter)
    for name, buffer in norm.named_buffers(recurse=False):
        setattr(synchronized, name, buffer)
    return synchronized.train(norm.training)


class SyncBatchNorm(_BatchNorm):
    """Batch norm (Ioffe and Szegedy 2015) over the clips of all processes, on any device.

    (N, C, ...) on each process to the same shape. It differs from `nn.BatchNorm2d` in one thing, whose clips count:
    the biased variance normalises, the unbiased one enters the running statistics, and these are computed in float32
    at least. The gradient is exact: each process's input also moves the others' outputs.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"batch norm takes at least 2 dimensions (N, C), not {input.dim()}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise over all processes while training, by the running statistics in evaluation mode."""
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        output, mean, variance, count = _Normalize.apply(input, self.weight, self.bias, self.eps)
        self._remember(mean, variance, count)
        return output

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        # Without a momentum the running statistics are the mean over all batches so far.
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = variance * (count / (count - 1))
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_(unbiased.to(self.running_var), share)


class _Normalize(torch.autograd.Function):
    """`(x - mean) / sqrt(variance + eps) * weight + bias` by the statistics of all processes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x (N, C, ...) -> its normalised form; mean (C,), biased variance (C,) and count () over all processes."""
        values = _wide(x)
        mean, variance, count = _statistics(values)
        if count <= 1:
            raise ValueError("batch norm needs more than 1 value per channel while it trains")
        inverse_std = torch.rsqrt(variance + eps)
        scale = inverse_std if weight is None else inverse_std * weight
        output = (values - _column(mean, x)) * _column(scale, x)
        if bias is not None:
            output += _column(bias, x)
        ctx.save_for_backward(x, weight, mean, inverse_std, count)
        ctx.mark_non_differentiable(mean, variance, count)
        return output.to(x.dtype), mean, variance, count

    @staticmethod
    def backward(
        ctx: Any, grad: Tensor, *_statistics_grads: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """The gradient of the sum of all processes' losses; that of weight and bias holds this process's clips alone.

        (The gradients of parameters are averaged over processes with all others.)
        """
        x, weight, mean, inverse_std, count = ctx.saved_tensors
        normalized = (_wide(x) - _column(mean, x)) * _column(inverse_std, x)
        grad = _wide(grad)
        dims = [dim for dim in range(x.dim()) if dim != 1]
        grad_bias = grad.sum(dims)
        grad_weight = (grad * normalized).sum(dims)
        grad_x = None
        if ctx.needs_input_grad[0]:
            sums = torch.stack([grad_bias, grad_weight])
            dist.all_reduce(sums)
            mean_grad, mean_product = (sums / count).unbind()
            scale = inverse_std if weight is None else inverse_std * weight
            grad_x = (grad - _column(mean_grad, x) - normalized * _column(mean_product, x)) * _column(scale, x)
            grad_x = grad_x.to(x.dtype)
        return (
            grad_x,
            grad_weight.to(weight.dtype) if weight is not None and ctx.needs_input_grad[1] else None,
            grad_bias if ctx.needs_input_grad[2] else None,
            None,
        )


def _statistics(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C,), biased variance (C,) and count () of every process's values (N, C, ...); N may differ."""
    dims = [dim for dim in range(values.dim()) if dim != 1]
    variance, mean = torch.var_mean(values, dims, correction=0)
    count = mean.new_tensor([values.numel() / values.shape[1]])
    own = torch.cat([mean, variance, count])
    everyone = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(everyone, own)
    rows = torch.stack(everyone)  # (processes, 2C + 1)
    counts = rows[:, -1:]
    means, variances = rows[:, :-1].chunk(2, dim=1)
    total = counts.sum()
    # Of each process's own mean and variance, as sums of squares would cancel (Chan, Golub and LeVeque 1979).
    mean = (counts * means).sum(0) / total
    variance = (counts * (variances + (means - mean).square())).sum(0) / total
    return mean, variance, total


def _wide(x: Tensor) -> Tensor:
    """In float32 where it was narrower; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()


def _column(values: Tensor, like: Tensor) -> Tensor:
    """(C,) in a shape that spreads over (N, C, ...)."""
    return values.view(1, -1, *([1] * (like.dim() - 2)))
