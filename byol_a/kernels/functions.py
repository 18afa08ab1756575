"""Blocks of an encoder made of kernels: what autograd sees, and batch norm's statistics, view by view.

A batch holds the clips of V views, one view after the other. Each view is normalised by its own statistics, as if it
had gone through the network alone; what does not look at other clips is done for all of them together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from byol_a.kernels.base import Kernels
from byol_a.kernels.guards import is_ordinary, is_plain_linear


def first_block(kernels: Kernels, x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, views: int = 1) -> Tensor:
    """Convolution, batch norm, ReLU and max-pooling of images in one pass that never writes the convolution's map.

    A convolution of one channel is linear in the nine pixels under it. So the mean of a channel is `w m` and its
    variance `w S w`, with the mean m and covariance S of the patches, which are the same for all channels: batch norm
    is known before the first value is computed, and is folded into the weights. The gradient by way of the statistics
    is that of these few products; the one through the map needs the map, which is computed again.

    Args:
        kernels: of the device.
        x: (V B, 1, F, T), without gradient; float32 or float64.
        conv: 3x3, one channel in, padding 1.
        norm: its batch norm; running statistics move as they would.
        views: V.

    Returns:
        (V B, C, F // 2, T // 2), channels last; of autocast's type where that is on.
    """
    # One way or the other, so that the gradient is laid out as the weight is.
    taps = conv.weight.permute(0, 2, 3, 1) if conv.weight.stride(1) == 1 else conv.weight
    weight = taps.flatten(start_dim=1).double()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.double()
    unused = 0.0 * bias if norm.training else torch.zeros_like(bias)  # a gradient of 0, for whoever waits for one
    weights, biases = [], []
    for view in x.chunk(views):
        if norm.training:
            mean, products = kernels.patch_moments(view)
            centre = weight @ mean
            covariance = products - torch.outer(mean, mean)
            variance = ((weight @ covariance) * weight).sum(dim=1).clamp(min=0.0)
            # The norm takes the convolution's own bias away again: it is in the running mean alone.
            _track(norm, centre.detach() + bias.detach(), variance.detach(), view.numel())
        else:
            centre, variance = _tracked(norm)
            centre = centre - bias
        scale, shift = scale_and_shift(norm, centre, variance)
        weights.append((weight * scale[:, None]).to(x.dtype))
        biases.append((shift + unused).to(x.dtype))
    out: Tensor = _ConvReluPool.apply(kernels, x, torch.stack(weights), torch.stack(biases), map_type(x))
    return out


def later_block(kernels: Kernels, x: Tensor, norm: nn.BatchNorm2d, views: int = 1, time_major: bool = False) -> Tensor:
    """Batch norm, ReLU and max-pooling of a convolution's map: two passes forward, two back, nothing kept but the map.

    Args:
        kernels: of the device.
        x: (V B, C, H, W).
        norm: the batch norm; running statistics move as they would.
        views: V.
        time_major: lay the output out in memory as (V B, W // 2, H // 2, C), so that its frames need no copy.

    Returns:
        (V B, C, H // 2, W // 2), channels side by side.
    """
    if x.stride(1) != 1:
        x = x.contiguous(memory_format=torch.channels_last)
    if norm.training:
        out: Tensor = _NormReluPool.apply(kernels, x, norm.weight, norm.bias, norm, views, time_major)
        return out
    scale, shift = scale_and_shift(norm, *_tracked(norm))
    real = torch.promote_types(x.dtype, torch.float32)
    return _AffineReluPool.apply(kernels, x, scale.to(real), shift.to(real), time_major)


def linear(kernels: Kernels | None, x: Tensor, layer: nn.Linear) -> Tensor:
    """`layer(x)`, by the kernels' own product where there is one and autocast is on.

    Weights are rounded on the way, without a copy; the weight's gradient is not rounded to bfloat16 as autocast's is.
    """
    usable = kernels is not None and kernels.multiplies and is_ordinary(x) and is_plain_linear(layer)
    # The weight is asked for once: it may be drawn anew each time.
    known = x.dtype in (torch.bfloat16, torch.float32) and layer.bias is not None and layer.bias.dtype == torch.float32
    if kernels is None or not usable or not known or map_type(x) != torch.bfloat16:
        plain: Tensor = layer(x)
        return plain
    product: Tensor = _Linear.apply(kernels, x.flatten(end_dim=-2), layer.weight, layer.bias)
    return product.unflatten(0, x.shape[:-1])


def relu_dropout(kernels: Kernels, x: Tensor, p: float) -> Tensor:
    """`dropout(relu(x), p)`; the mask is a function of one number drawn from torch's generator of the device."""
    if p <= 0:
        return x.relu()
    drawn = torch.randint(2**63 - 1, (), device=x.device)
    seed = int(drawn) if x.device.type == "cpu" else drawn  # a GPU is not waited for
    out: Tensor = _ReluDropout.apply(kernels, x.contiguous(), p, seed)
    return out


def relu_pool_time(kernels: Kernels, x: Tensor) -> Tensor:
    """Maximum plus mean over time of relu(x): (N, T, D) to (N, D), in float32 at least."""
    out: Tensor = _ReluPoolTime.apply(kernels, x.contiguous())
    return out


def map_type(x: Tensor) -> torch.dtype:
    """What a map made of `x` is stored in: autocast's type, where that is on."""
    kind = x.device.type
    autocast = torch.is_autocast_enabled(kind) and x.dtype != torch.float64  # which autocast leaves alone
    return torch.get_autocast_dtype(kind) if autocast else x.dtype


def channels_last(n: int, c: int, h: int, w: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """An empty map (N, C, H, W), in memory (N, H, W, C)."""
    return torch.empty(n, h, w, c, dtype=dtype, device=device).permute(0, 3, 1, 2)


def scale_and_shift(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Batch norm by these statistics (C,), float64, as `scale x + shift`."""
    scale = norm.weight.double() * (variance + norm.eps).rsqrt()
    return scale, norm.bias.double() - scale * mean


def _track(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    """Move the running statistics by those of a batch of `count` values a channel, as `nn.BatchNorm2d` does."""
    if norm.running_mean is None or norm.running_var is None:
        return
    momentum: Any = norm.momentum
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if momentum is None:
            momentum = 1.0 / norm.num_batches_tracked
    unbiased = variance * (count / max(1, count - 1))
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
    norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), momentum)


def _tracked(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None and norm.running_var is not None
    return norm.running_mean.double(), norm.running_var.double()


class _ConvReluPool(torch.autograd.Function):
    """`Kernels.conv_relu_pool` of images (V B, 1, F, T) without gradient; each view by its own weights and biases.

    Those are (V, C, 9) and (V, C).
    """

    @staticmethod
    def forward(ctx: Any, kernels: Kernels, x: Tensor, weights: Tensor, biases: Tensor, store: torch.dtype) -> Tensor:
        views, n_channels = biases.shape
        out = channels_last(len(x), n_channels, x.shape[2] // 2, x.shape[3] // 2, store, x.device)
        for view, weight, bias, place in zip(x.chunk(views), weights, biases, out.chunk(views), strict=True):
            kernels.conv_relu_pool(view, weight, bias, place)
        ctx.kernels = kernels
        ctx.save_for_backward(x, weights, biases)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weights, biases = ctx.saved_tensors
        views = len(weights)
        parts = zip(x.chunk(views), weights, biases, gradient.chunk(views), strict=True)
        of_weights, of_biases = zip(*(ctx.kernels.conv_relu_pool_backward(*part) for part in parts), strict=True)
        return None, None, torch.stack(of_weights), torch.stack(of_biases), None


class _NormReluPool(torch.autograd.Function):
    """Batch norm by the statistics of each view, ReLU, max-pooling.

    With n values a channel, `x^ = (x - m) r`, and g the gradient where the maxima came from, batch norm's gradient
    `weight r (g - mean(g) - x^ mean(g x^))` is `scale g + slope x + offset` at every position.
    """

    @staticmethod
    def forward(
        ctx: Any,
        kernels: Kernels,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        norm: nn.BatchNorm2d,
        views: int,
        time_major: bool,
    ) -> Tensor:
        out = _pooled(x, time_major)
        statistics: list[Tensor] = []
        for view, place in zip(x.chunk(views), out.chunk(views), strict=True):
            mean, variance = kernels.channel_moments(view)
            _track(norm, mean, variance, view.numel() // view.shape[1])
            inverse = (variance + norm.eps).rsqrt()
            scale = weight.to(inverse.dtype) * inverse
            shift = bias.to(inverse.dtype) - scale * mean
            kernels.affine_relu_pool(view, scale, shift, place)
            statistics += [mean, inverse, scale, shift]
        ctx.kernels = kernels
        ctx.affine_type = weight.dtype
        ctx.save_for_backward(x, *statistics)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, *statistics = ctx.saved_tensors
        views = len(statistics) // 4
        of_x, of_weights, of_biases = torch.empty_like(x), [], []
        parts = zip(x.chunk(views), gradient.chunk(views), of_x.chunk(views), strict=True)
        for number, (view, given, place) in enumerate(parts):
            mean, inverse, scale, shift = statistics[4 * number : 4 * number + 4]
            count = view.numel() // view.shape[1]
            of_bias, of_scale = ctx.kernels.affine_relu_pool_sums(view, scale, shift, given)
            of_weight = inverse * (of_scale - mean * of_bias)
            slope = -scale * inverse * of_weight / count
            offset = -scale * of_bias / count - slope * mean
            ctx.kernels.affine_relu_pool_backward(view, scale, shift, given, slope, offset, place)
            of_weights.append(of_weight)
            of_biases.append(of_bias)
        of_weight, of_bias = (torch.stack(each).sum(dim=0).to(ctx.affine_type) for each in (of_weights, of_biases))
        return None, of_x, of_weight, of_bias, None, None, None


class _AffineReluPool(torch.autograd.Function):
    """The same by statistics that are given, as in evaluation."""

    @staticmethod
    def forward(ctx: Any, kernels: Kernels, x: Tensor, scale: Tensor, shift: Tensor, time_major: bool) -> Tensor:
        out = _pooled(x, time_major)
        kernels.affine_relu_pool(x, scale, shift, out)
        ctx.kernels = kernels
        ctx.save_for_backward(x, scale, shift)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, shift = ctx.saved_tensors
        of_shift, of_scale = ctx.kernels.affine_relu_pool_sums(x, scale, shift, gradient)
        of_x, zeros = torch.empty_like(x), torch.zeros_like(scale)
        ctx.kernels.affine_relu_pool_backward(x, scale, shift, gradient, zeros, zeros, of_x)
        return None, of_x, of_scale, of_shift, None


class _Linear(torch.autograd.Function):
    """Rows (N, in) by weights (out, in) and biases (out,), which are float32; the product is bfloat16."""

    @staticmethod
    def forward(ctx: Any, kernels: Kernels, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x = x.contiguous()
        ctx.kernels = kernels
        ctx.save_for_backward(x, weight)
        return kernels.matmul(x, weight.t(), bias, torch.bfloat16)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_x = ctx.kernels.matmul(gradient, weight, None, x.dtype) if ctx.needs_input_grad[1] else None
        of_weight = ctx.kernels.matmul(gradient.t(), x, None, torch.float32) if ctx.needs_input_grad[2] else None
        of_bias = ctx.kernels.column_sums(gradient) if ctx.needs_input_grad[3] else None
        return None, of_x, of_weight, of_bias


class _ReluDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernels: Kernels, x: Tensor, p: float, seed: int | Tensor) -> Tensor:
        out = kernels.relu_dropout(x, p, seed)
        ctx.kernels, ctx.p = kernels, p
        ctx.save_for_backward(out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (out,) = ctx.saved_tensors
        return None, ctx.kernels.relu_dropout_backward(gradient, out, ctx.p), None, None


class _ReluPoolTime(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernels: Kernels, x: Tensor) -> Tensor:
        out = x.new_empty(x.shape[0], x.shape[2], dtype=torch.promote_types(x.dtype, torch.float32))
        kernels.relu_pool_time(x, out)
        ctx.kernels = kernels
        ctx.save_for_backward(x)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return None, ctx.kernels.relu_pool_time_backward(x, gradient)


def _pooled(x: Tensor, time_major: bool) -> Tensor:
    n, c, h, w = x.shape[0], x.shape[1], x.shape[2] // 2, x.shape[3] // 2
    if time_major:
        return x.new_empty(n, w, h, c).permute(0, 3, 2, 1)
    return channels_last(n, c, h, w, x.dtype, x.device)
