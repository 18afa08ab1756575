"""A 3x3 convolution of one channel, ReLU and 2x2 pooling in one pass, forward and backward.

The four positions that are pooled into one look at 4x4 pixels together, and 16 is the depth of the matrix units'
products. So a tile of windows is read once, as a matrix of their pixels, and each of the four positions is a product
of it with the weights, laid out among 16 rows where that position sees the nine pixels. The full map is only ever in
registers; the backward pass computes it again. (An infinite pixel makes all windows that look at it NaN, by way of the
weights of 0.)
"""

# Triton compiles no unpacking, so tuples grow by addition:
# ruff: noqa: RUF005

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from byol_a.kernels.base import TAPS
from byol_a.kernels.triton.common import larger, relu, split, sum_rows
from byol_a.kernels.triton.launch import INTERPRETED, Launch, arithmetic, run, strides

WINDOW = 4  # positions in a window
SUMS = TAPS + 1  # of a channel: those of the weights and that of the bias


@triton.jit
def _round(x, PRECISION: tl.constexpr):
    """To the nearest number that the matrix units tell apart where they take TF32: they cut what is beyond."""
    if PRECISION == "tf32":
        rounded = ((x.to(tl.int32, bitcast=True) + 0x1000) & -0x2000).to(tl.float32, bitcast=True)
        x = tl.where(x == x, rounded, x)
    return x


@triton.jit
def _pixels(x, window, n_windows, height, width, n_mels, n_frames):
    """The 4x4 pixels, row by row, that windows look at: (windows, 16), zeros beyond the image."""
    clip, row, column = split(window, height, width)
    place = tl.arange(0, 16)
    mel = 2 * row[:, None] + (place // 4 - 1)[None, :]
    frame = 2 * column[:, None] + (place % 4 - 1)[None, :]
    inside = (window < n_windows)[:, None] & (mel >= 0) & (mel < n_mels) & (frame >= 0) & (frame < n_frames)
    image = x + clip.to(tl.int64) * n_mels * n_frames
    return tl.load(image[:, None] + mel * n_frames + frame, mask=inside, other=0.0)


@triton.jit
def _gradients(gradient, channel, window, n_windows, height, width, clip_stride, row_stride, column_stride):
    """The gradients (channels, windows) of windows' outputs."""
    clip, row, column = split(window, height, width)
    at = gradient + clip.to(tl.int64) * clip_stride + row * row_stride + column * column_stride
    return tl.load(at[None, :] + channel[:, None], mask=(window < n_windows)[None, :], other=0.0)


@triton.jit
def _weights(weight, channel, weight_channel, weight_tap, REAL: tl.constexpr, PRECISION: tl.constexpr):
    """For each position of a window its weights (channels, 16) on the window's pixels."""
    place = tl.arange(0, 16)
    matrices = ()
    for position in tl.static_range(4):
        i = place // 4 - position // 2
        j = place % 4 - position % 2
        seen = (i >= 0) & (i < 3) & (j >= 0) & (j < 3)
        taps = weight + channel[:, None] * weight_channel + (3 * i + j)[None, :] * weight_tap
        matrices = matrices + (_round(tl.load(taps, mask=seen[None, :], other=0.0).to(REAL), PRECISION),)
    return matrices


@triton.jit
def _first_maximum(matrices, pixels, PRECISION: tl.constexpr):
    """Which position of each window has the map's maximum, the first of equals, and that less the bias."""
    columns = tl.trans(pixels)
    best = tl.dot(matrices[0], columns, input_precision=PRECISION, out_dtype=pixels.dtype)
    winner = tl.zeros(best.shape, tl.int32)
    for position in tl.static_range(1, 4):
        value = tl.dot(matrices[position], columns, input_precision=PRECISION, out_dtype=pixels.dtype)
        winner = tl.where(value > best, position, winner)
        best = larger(best, value)
    return winner, best


@triton.jit
def _conv_relu_pool_kernel(
    x, weight, bias, out, n_windows, height, width, n_mels, n_frames, weight_channel, weight_tap,
    out_clip, out_row, out_column,
    REAL: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    matrices = _weights(weight, channel, weight_channel, weight_tap, REAL, PRECISION)
    shift = tl.load(bias + channel).to(REAL)
    for start in range(tl.program_id(0) * ROWS, n_windows, tl.num_programs(0) * ROWS):
        window = start + tl.arange(0, ROWS)
        pixels = _pixels(x, window, n_windows, height, width, n_mels, n_frames)
        pixels = _round(pixels.to(REAL), PRECISION)
        _, best = _first_maximum(matrices, pixels, PRECISION)
        clip, row, column = split(window, height, width)
        to = out + clip.to(tl.int64) * out_clip + row * out_row + column * out_column
        value = relu(best + shift[:, None]).to(out.dtype.element_ty)
        tl.store(to[None, :] + channel[:, None], value, mask=(window < n_windows)[None, :])


@triton.jit
def _conv_relu_pool_backward_kernel(
    x, weight, bias, gradient, sums, n_windows, height, width, n_mels, n_frames, weight_channel, weight_tap,
    gradient_clip, gradient_row, gradient_column, n_channels,
    REAL: tl.constexpr, PRECISION: tl.constexpr, OPERAND: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    matrices = _weights(weight, channel, weight_channel, weight_tap, REAL, PRECISION)
    shift = tl.load(bias + channel).to(REAL)
    of_bias = tl.zeros((CHANNELS, ROWS), REAL)
    of_weights = (tl.zeros((CHANNELS, 16), REAL),) * 4
    step = tl.num_programs(0) * ROWS
    window = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    next_pixels = _pixels(x, window, n_windows, height, width, n_mels, n_frames)
    next_g = _gradients(
        gradient, channel, window, n_windows, height, width, gradient_clip, gradient_row, gradient_column
    )
    for _ in range(tl.program_id(0) * ROWS, n_windows, step):
        pixels = _round(next_pixels.to(REAL), PRECISION)
        g = next_g.to(REAL)
        # There are too few warps to a multiprocessor to hide the way to the memory: the next tile is under way while
        # this one is computed.
        window += step
        next_pixels = _pixels(x, window, n_windows, height, width, n_mels, n_frames)
        next_g = _gradients(
            gradient, channel, window, n_windows, height, width, gradient_clip, gradient_row, gradient_column
        )
        winner, best = _first_maximum(matrices, pixels, PRECISION)
        g = tl.where(best + shift[:, None] > 0, g, 0.0)
        of_bias += g
        operand = pixels.to(OPERAND)
        summed = ()
        for position in tl.static_range(4):
            mine = tl.where(winner == position, g, 0.0).to(OPERAND)
            total = tl.dot(mine, operand, of_weights[position], input_precision=PRECISION, out_dtype=REAL)
            summed = summed + (total,)
        of_weights = summed

    # (programs, position, tap, channel): of the 16 pixels each position has seen nine. The bias stands in row 9.
    place = tl.arange(0, 16)
    to = sums + tl.program_id(0) * 40 * n_channels + channel
    for position in tl.static_range(4):
        i = place // 4 - position // 2
        j = place % 4 - position % 2
        seen = (i >= 0) & (i < 3) & (j >= 0) & (j < 3)
        taps = (10 * position + 3 * i + j) * n_channels
        tl.store(to[:, None] + taps[None, :], of_weights[position], mask=seen[None, :])
        shares = tl.sum(of_bias, axis=1) if position == 0 else tl.zeros((CHANNELS,), REAL)
        tl.store(to + (10 * position + 9) * n_channels, shares)


def conv_relu_pool(x: Tensor, weight: Tensor, bias: Tensor, out: Tensor, launch: Launch) -> None:
    """See `Kernels.conv_relu_pool`."""
    launch = launch.for_values(out.dtype)
    windows, constants = _windows(x, weight, out, launch)
    run(
        _conv_relu_pool_kernel, _grid(out, launch), x.contiguous(), weight, bias, out, *windows,
        launch=launch, **constants,
    )  # fmt: skip


def conv_relu_pool_backward(
    x: Tensor, weight: Tensor, bias: Tensor, gradient: Tensor, launch: Launch
) -> tuple[Tensor, Tensor]:
    """See `Kernels.conv_relu_pool_backward`."""
    launch = launch.for_values(gradient.dtype)
    windows, constants = _windows(x, weight, gradient, launch)
    # What torch's own convolution would take. The interpreter would multiply the bits of bfloat16.
    operand = tl.bfloat16 if gradient.dtype == torch.bfloat16 and not INTERPRETED else constants["REAL"]
    grid = _grid(gradient, launch)
    dtype = torch.promote_types(x.dtype, torch.float32)
    n_channels = len(bias)
    sums = torch.empty(grid[0] * WINDOW, SUMS, n_channels, dtype=dtype, device=x.device)
    run(
        _conv_relu_pool_backward_kernel, grid, x.contiguous(), weight, bias, gradient, sums, *windows, n_channels,
        OPERAND=operand, launch=launch, **constants,
    )  # fmt: skip
    total = sum_rows(sums, dtype)
    return total[:TAPS].t(), total[TAPS]


def _grid(pooled: Tensor, launch: Launch) -> tuple[int, int]:
    n_clips, n_channels, height, width = pooled.shape
    return launch.shared_out(n_clips * height * width), n_channels // launch.block(n_channels)


def _windows(x: Tensor, weight: Tensor, pooled: Tensor, launch: Launch) -> tuple[tuple[int, ...], dict[str, Any]]:
    """What both kernels are told: sizes and strides, and what they are compiled for."""
    n_clips, n_channels, height, width = pooled.shape
    # The matrix units take float32 as TF32, whose 11 bits are more than the 8 of a map in bfloat16; maps in float32
    # have their products in full.
    constants = {
        "REAL": arithmetic(x.dtype),
        "PRECISION": "tf32" if pooled.dtype == torch.bfloat16 and x.dtype != torch.float64 else "ieee",
        "ROWS": launch.rows,
        "CHANNELS": launch.block(n_channels),
    }
    return (n_clips * height * width, height, width, *x.shape[2:], *weight.stride(), *strides(pooled)), constants
