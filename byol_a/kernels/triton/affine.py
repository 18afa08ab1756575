"""Batch norm as an affine map of each channel, ReLU and 2x2 pooling in one pass, forward and backward."""

# Triton compiles no unpacking, so tuples grow by addition:
# ruff: noqa: RUF005

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from byol_a.kernels.triton.common import first_maximum, relu, split, sum_rows
from byol_a.kernels.triton.launch import Launch, arithmetic, run, strides


@triton.jit
def _channels(scale, shift, CHANNELS: tl.constexpr, REAL: tl.constexpr):
    """The program's channels, their scale and their shift (1, channels)."""
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    return channel, tl.load(scale + channel).to(REAL)[None, :], tl.load(shift + channel).to(REAL)[None, :]


@triton.jit
def _at(x, clip, row, column, x_clip, x_row, x_column, channel):
    """Pointers (positions, channels) into a map."""
    return (x + clip.to(tl.int64) * x_clip + row * x_row + column * x_column)[:, None] + channel[None, :]


@triton.jit
def _load_window(corner, inside, row, column, height, width, x_row, x_column, REAL: tl.constexpr):
    """The values at the four positions of windows, row by row: zeros beyond the map's edge."""
    values = ()
    for place in tl.static_range(4):
        here = inside & (2 * row + place // 2 < height) & (2 * column + place % 2 < width)
        at = corner + (place // 2) * x_row + (place % 2) * x_column
        values = values + (tl.load(at, mask=here[:, None], other=0.0).to(REAL),)
    return values


@triton.jit
def _affine(values, scale, shift):
    return values[0] * scale + shift, values[1] * scale + shift, values[2] * scale + shift, values[3] * scale + shift


@triton.jit
def _affine_relu_pool_kernel(
    x, scale, shift, out, n_windows, height, width, x_clip, x_row, x_column, out_clip, out_row, out_column,
    REAL: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    channel, scale, shift = _channels(scale, shift, CHANNELS, REAL)
    window = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = window < n_windows
    clip, row, column = split(window, height // 2, width // 2)
    corner = _at(x, clip, 2 * row, 2 * column, x_clip, x_row, x_column, channel)
    values = _load_window(corner, inside, row, column, height, width, x_row, x_column, REAL)
    _, best = first_maximum(_affine(values, scale, shift))
    to = _at(out, clip, row, column, out_clip, out_row, out_column, channel)
    tl.store(to, relu(best).to(out.dtype.element_ty), mask=inside[:, None])


@triton.jit
def _affine_relu_pool_sums_kernel(
    x, scale, shift, gradient, sums, n_windows, height, width, x_clip, x_row, x_column,
    gradient_clip, gradient_row, gradient_column, n_channels,
    REAL: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    channel, scale, shift = _channels(scale, shift, CHANNELS, REAL)
    of_shift = tl.zeros((ROWS, CHANNELS), REAL)
    of_scale = tl.zeros((ROWS, CHANNELS), REAL)
    for start in range(tl.program_id(0) * ROWS, n_windows, tl.num_programs(0) * ROWS):
        window = start + tl.arange(0, ROWS)
        inside = window < n_windows
        clip, row, column = split(window, height // 2, width // 2)
        at = _at(gradient, clip, row, column, gradient_clip, gradient_row, gradient_column, channel)
        g = tl.load(at, mask=inside[:, None], other=0.0).to(REAL)
        corner = _at(x, clip, 2 * row, 2 * column, x_clip, x_row, x_column, channel)
        values = _load_window(corner, inside, row, column, height, width, x_row, x_column, REAL)
        winner, best = first_maximum(_affine(values, scale, shift))
        picked = values[0]
        for place in tl.static_range(1, 4):
            picked = tl.where(winner == place, values[place], picked)
        g = tl.where(best > 0, g, 0.0)
        of_shift += g
        of_scale += g * picked
    to = sums + tl.program_id(0) * 2 * n_channels + channel
    tl.store(to, tl.sum(of_shift, axis=0))
    tl.store(to + n_channels, tl.sum(of_scale, axis=0))


@triton.jit
def _affine_relu_pool_backward_kernel(
    x, scale, shift, gradient, slope, offset, out, n_windows, height, width, x_clip, x_row, x_column,
    gradient_clip, gradient_row, gradient_column, out_clip, out_row, out_column,
    REAL: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    channel, scale, shift = _channels(scale, shift, CHANNELS, REAL)
    slope = tl.load(slope + channel).to(REAL)[None, :]
    offset = tl.load(offset + channel).to(REAL)[None, :]
    # Windows here reach beyond an odd edge: what stands there is in none that is pooled, but has slope and offset.
    window = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = window < n_windows
    clip, row, column = split(window, (height + 1) // 2, (width + 1) // 2)
    pooled = inside & (row < height // 2) & (column < width // 2)
    at = _at(gradient, clip, row, column, gradient_clip, gradient_row, gradient_column, channel)
    g = tl.load(at, mask=pooled[:, None], other=0.0).to(REAL)
    corner = _at(x, clip, 2 * row, 2 * column, x_clip, x_row, x_column, channel)
    values = _load_window(corner, inside, row, column, height, width, x_row, x_column, REAL)
    winner, best = first_maximum(_affine(values, scale, shift))
    g = tl.where(best > 0, scale * g, 0.0)
    to = _at(out, clip, 2 * row, 2 * column, out_clip, out_row, out_column, channel)
    for place in tl.static_range(4):
        here = inside & (2 * row + place // 2 < height) & (2 * column + place % 2 < width)
        value = tl.where(winner == place, g, 0.0) + (slope * values[place] + offset)
        at = to + (place // 2) * out_row + (place % 2) * out_column
        tl.store(at, value.to(out.dtype.element_ty), mask=here[:, None])


def affine_relu_pool(x: Tensor, scale: Tensor, shift: Tensor, out: Tensor, launch: Launch) -> None:
    """See `Kernels.affine_relu_pool`."""
    n_clips, n_channels, height, width = x.shape
    launch = launch.for_values(x.dtype)
    channels = launch.block(n_channels)
    n_windows = n_clips * (height // 2) * (width // 2)
    run(
        _affine_relu_pool_kernel, (launch.tiles(n_windows), n_channels // channels),
        x, scale, shift, out, n_windows, height, width, *strides(x), *strides(out),
        REAL=arithmetic(x.dtype), ROWS=launch.rows, CHANNELS=channels, launch=launch,
    )  # fmt: skip


def affine_relu_pool_sums(
    x: Tensor, scale: Tensor, shift: Tensor, gradient: Tensor, launch: Launch
) -> tuple[Tensor, Tensor]:
    """See `Kernels.affine_relu_pool_sums`."""
    n_clips, n_channels, height, width = x.shape
    launch = launch.for_values(x.dtype)
    channels = launch.block(n_channels)
    n_windows = n_clips * (height // 2) * (width // 2)
    programs = launch.shared_out(n_windows)
    dtype = torch.promote_types(x.dtype, torch.float32)
    sums = torch.empty(programs, 2, n_channels, dtype=dtype, device=x.device)
    run(
        _affine_relu_pool_sums_kernel, (programs, n_channels // channels),
        x, scale, shift, gradient, sums, n_windows, height, width, *strides(x), *strides(gradient), n_channels,
        REAL=arithmetic(x.dtype), ROWS=launch.rows, CHANNELS=channels, launch=launch,
    )  # fmt: skip
    of_shift, of_scale = sum_rows(sums, dtype)
    return of_shift, of_scale


def affine_relu_pool_backward(
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    gradient: Tensor,
    slope: Tensor,
    offset: Tensor,
    out: Tensor,
    launch: Launch,
) -> None:
    """See `Kernels.affine_relu_pool_backward`."""
    n_clips, n_channels, height, width = x.shape
    launch = launch.for_values(x.dtype)
    channels = launch.block(n_channels)
    n_windows = n_clips * ((height + 1) // 2) * ((width + 1) // 2)
    run(
        _affine_relu_pool_backward_kernel, (launch.tiles(n_windows), n_channels // channels),
        x, scale, shift, gradient, slope, offset, out, n_windows, height, width,
        *strides(x), *strides(gradient), *strides(out),
        REAL=arithmetic(x.dtype), ROWS=launch.rows, CHANNELS=channels, launch=launch,
    )  # fmt: skip
