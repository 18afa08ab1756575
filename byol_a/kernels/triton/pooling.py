"""ReLU, then maximum plus mean over time."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from byol_a.kernels.triton.common import larger, relu
from byol_a.kernels.triton.launch import Launch, arithmetic, run


@triton.jit
def _load(x, first, frame, n_frames, n_features, feature, REAL: tl.constexpr):
    """relu(x) at some frames of the clip whose first element is `first`: (frames, features), 0 beyond the last."""
    at = x + first + frame[:, None] * n_features + feature[None, :]
    return relu(tl.load(at, mask=(frame < n_frames)[:, None], other=0.0).to(REAL))


@triton.jit
def _relu_pool_time_kernel(
    x, out, n_frames, n_features, stride, REAL: tl.constexpr, ROWS: tl.constexpr, FEATURES: tl.constexpr
):
    clip = tl.program_id(0).to(tl.int64)
    feature = tl.program_id(1) * FEATURES + tl.arange(0, FEATURES)
    best = tl.zeros((ROWS, FEATURES), REAL)
    total = tl.zeros((ROWS, FEATURES), REAL)
    for start in range(0, n_frames, ROWS):
        frame = start + tl.arange(0, ROWS)
        value = _load(x, clip * n_frames * n_features, frame, n_frames, n_features, feature, REAL)
        best = larger(best, value)
        total += value
    pooled = tl.max(best, axis=0) + tl.sum(total, axis=0) / n_frames
    tl.store(out + clip * stride + feature, pooled.to(out.dtype.element_ty))


@triton.jit
def _relu_pool_time_backward_kernel(
    x, gradient, out, n_frames, n_features, stride, REAL: tl.constexpr, ROWS: tl.constexpr, FEATURES: tl.constexpr
):
    clip = tl.program_id(0).to(tl.int64)
    first = clip * n_frames * n_features
    feature = tl.program_id(1) * FEATURES + tl.arange(0, FEATURES)
    best = tl.zeros((ROWS, FEATURES), REAL)
    count = tl.zeros((ROWS, FEATURES), REAL)
    for start in range(0, n_frames, ROWS):
        value = _load(x, first, start + tl.arange(0, ROWS), n_frames, n_features, feature, REAL)
        count = tl.where(value > best, 1.0, tl.where(value == best, count + 1.0, count))
        best = larger(best, value)
    # Each of the tile's rows knows its own maximum; where the clip's is 0 its frames have no gradient anyway.
    maximum = tl.max(best, axis=0)[None, :]
    among = tl.sum(tl.where(best == maximum, count, 0.0), axis=0)[None, :]
    g = tl.load(gradient + clip * stride + feature).to(REAL)[None, :]
    mean = g / n_frames
    for start in range(0, n_frames, ROWS):
        frame = start + tl.arange(0, ROWS)
        value = _load(x, first, frame, n_frames, n_features, feature, REAL)
        share = mean + tl.where(value == maximum, g / among, 0.0)
        to = out + first + frame[:, None] * n_features + feature[None, :]
        value = tl.where(value > 0, share, 0.0).to(out.dtype.element_ty)
        tl.store(to, value, mask=(frame < n_frames)[:, None])


def relu_pool_time(x: Tensor, out: Tensor, launch: Launch) -> None:
    """See `Kernels.relu_pool_time`."""
    n_clips, n_frames, n_features = x.shape
    features = launch.block(n_features)
    run(
        _relu_pool_time_kernel, (n_clips, n_features // features), x, out, n_frames, n_features, out.stride(0),
        REAL=arithmetic(x.dtype), ROWS=launch.rows, FEATURES=features, launch=launch,
    )  # fmt: skip


def relu_pool_time_backward(x: Tensor, gradient: Tensor, launch: Launch) -> Tensor:
    """See `Kernels.relu_pool_time_backward`."""
    n_clips, n_frames, n_features = x.shape
    features = launch.block(n_features)
    out = torch.empty_like(x)
    gradient = gradient if gradient.stride(1) == 1 else gradient.contiguous()
    run(
        _relu_pool_time_backward_kernel, (n_clips, n_features // features),
        x, gradient, out, n_frames, n_features, gradient.stride(0),
        REAL=arithmetic(x.dtype), ROWS=launch.rows, FEATURES=features, launch=launch,
    )  # fmt: skip
    return out
