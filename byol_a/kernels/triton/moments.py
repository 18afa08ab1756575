"""Means and variances in two stages: each program over its tiles, then one over the programs."""

# Triton compiles no unpacking, so tuples grow by addition:
# ruff: noqa: RUF005

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from byol_a.kernels.base import TAPS
from byol_a.kernels.triton.common import split, sum_rows
from byol_a.kernels.triton.launch import CHANNEL_MULTIPLE, Launch, arithmetic, run, strides

PAIRS = TAPS * (TAPS + 1) // 2
SUMS = TAPS + TAPS * TAPS
MERGED = 64  # programs of the first stage that the second takes at a time


@triton.jit
def _patch_moments_kernel(
    x, sums, n_positions, n_mels, n_frames, REAL: tl.constexpr, ROWS: tl.constexpr, PAIRS: tl.constexpr
):
    totals = (tl.zeros((ROWS,), REAL),) * (9 + PAIRS)
    for start in range(tl.program_id(0) * ROWS, n_positions, tl.num_programs(0) * ROWS):
        position = start + tl.arange(0, ROWS)
        _, mel, frame = split(position, n_mels, n_frames)
        taps = ()
        for tap in tl.static_range(9):
            i = tap // 3 - 1
            j = tap % 3 - 1
            inside = (position < n_positions) & (mel + i >= 0) & (mel + i < n_mels)
            inside = inside & (frame + j >= 0) & (frame + j < n_frames)
            taps = taps + (tl.load(x + position + (i * n_frames + j), mask=inside, other=0.0).to(REAL),)
        added = ()
        for first in tl.static_range(9):
            added = added + (totals[first] + taps[first],)
        for first in tl.static_range(9):
            for second in tl.static_range(first, 9):
                added = added + (totals[len(added)] + taps[first] * taps[second],)
        totals = added
    to = sums + tl.program_id(0) * 90
    for first in tl.static_range(9):
        tl.store(to + first, tl.sum(totals[first], axis=0))
        for second in tl.static_range(first, 9):
            total = tl.sum(totals[9 + first * (17 - first) // 2 + second], axis=0)
            tl.store(to + 9 + 9 * first + second, total)
            tl.store(to + 9 + 9 * second + first, total)


@triton.jit
def _channel_moments_kernel(
    x, moments, n_positions, height, width, n_channels, x_clip, x_row, x_column,
    REAL: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    lane = tl.arange(0, ROWS)
    # Sums around the mean of the program's first tile. That lies no further from the program's mean than some
    # deviations, as the tile is a fair share of the program's positions, so that nothing cancels.
    pivot = tl.zeros((CHANNELS,), REAL)
    linear = tl.zeros((ROWS, CHANNELS), REAL)
    square = tl.zeros((ROWS, CHANNELS), REAL)
    count = 0
    for start in range(tl.program_id(0) * ROWS, n_positions, tl.num_programs(0) * ROWS):
        position = start + lane
        inside = position < n_positions
        clip, row, column = split(position, height, width)
        at = x + clip.to(tl.int64) * x_clip + row * x_row + column * x_column
        value = tl.load(at[:, None] + channel[None, :], mask=inside[:, None], other=0.0).to(REAL)
        here = tl.minimum(n_positions - start, ROWS)
        if count == 0:
            pivot = tl.sum(value, axis=0) / here
        value = tl.where(inside[:, None], value - pivot[None, :], 0.0)
        linear += value
        square += value * value
        count += here
    shift = tl.sum(linear, axis=0)
    to = moments + tl.program_id(0) * 3 * n_channels + channel
    tl.store(to, tl.zeros((CHANNELS,), REAL) + count)
    tl.store(to + n_channels, pivot + shift / count)
    tl.store(to + 2 * n_channels, tl.sum(square, axis=0) - shift * (shift / count))


@triton.jit
def _merge_moments_kernel(moments, out, n_rows, n_channels, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """One mean and variance from those of parts (Chan, Golub and LeVeque 1983): that within and that among them."""
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    count = tl.zeros((ROWS, CHANNELS), tl.float64)
    total = tl.zeros((ROWS, CHANNELS), tl.float64)
    for start in range(0, n_rows, ROWS):
        row = start + tl.arange(0, ROWS)[:, None]
        at = moments + row * 3 * n_channels + channel[None, :]
        n = tl.load(at, mask=row < n_rows, other=0.0).to(tl.float64)
        count += n
        total += n * tl.load(at + n_channels, mask=row < n_rows, other=0.0).to(tl.float64)
    n_positions = tl.sum(count, axis=0)
    mean = tl.sum(total, axis=0) / n_positions
    squares = tl.zeros((ROWS, CHANNELS), tl.float64)
    for start in range(0, n_rows, ROWS):
        row = start + tl.arange(0, ROWS)[:, None]
        at = moments + row * 3 * n_channels + channel[None, :]
        n = tl.load(at, mask=row < n_rows, other=0.0).to(tl.float64)
        away = tl.load(at + n_channels, mask=row < n_rows, other=0.0).to(tl.float64) - mean[None, :]
        squares += tl.load(at + 2 * n_channels, mask=row < n_rows, other=0.0).to(tl.float64) + n * away * away
    variance = tl.sum(squares, axis=0) / n_positions
    tl.store(out + channel, mean.to(out.dtype.element_ty))
    tl.store(out + n_channels + channel, variance.to(out.dtype.element_ty))


def patch_moments(x: Tensor, launch: Launch) -> tuple[Tensor, Tensor]:
    """See `Kernels.patch_moments`."""
    n_clips, _, n_mels, n_frames = x.shape
    n_positions = n_clips * n_mels * n_frames
    launch = launch.for_values(x.dtype)
    programs = launch.shared_out(n_positions)
    dtype = torch.promote_types(x.dtype, torch.float32)
    sums = torch.empty(programs, SUMS, dtype=dtype, device=x.device)
    run(
        _patch_moments_kernel, (programs,), x.contiguous(), sums, n_positions, n_mels, n_frames,
        REAL=arithmetic(x.dtype), ROWS=launch.rows, PAIRS=PAIRS, launch=launch,
    )  # fmt: skip
    means = sum_rows(sums, torch.float64) / n_positions
    return means[:TAPS], means[TAPS:].view(TAPS, TAPS)


def channel_moments(x: Tensor, launch: Launch) -> tuple[Tensor, Tensor]:
    """See `Kernels.channel_moments`."""
    n_clips, n_channels, height, width = x.shape
    launch = launch.for_values(x.dtype)
    channels = launch.block(n_channels)
    n_positions = n_clips * height * width
    programs = launch.shared_out(n_positions)
    dtype = torch.promote_types(x.dtype, torch.float32)
    moments = torch.empty(programs, 3, n_channels, dtype=dtype, device=x.device)
    run(
        _channel_moments_kernel, (programs, n_channels // channels),
        x, moments, n_positions, height, width, n_channels, *strides(x),
        REAL=arithmetic(x.dtype), ROWS=launch.rows, CHANNELS=channels, launch=launch,
    )  # fmt: skip
    out = torch.empty(2, n_channels, dtype=dtype, device=x.device)
    run(
        _merge_moments_kernel, (n_channels // CHANNEL_MULTIPLE,), moments, out, programs, n_channels,
        ROWS=MERGED, CHANNELS=CHANNEL_MULTIPLE, launch=launch,
    )  # fmt: skip
    mean, variance = out
    return mean, variance
