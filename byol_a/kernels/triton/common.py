"""What several Triton kernels need: positions, maxima that keep NaN, and the second stage of every sum."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from byol_a.kernels.triton.launch import Launch, run

# A program for few columns, so that there are several, with many loads in flight.
SECOND_STAGE = Launch(rows=512, channels=16, warps=8)


@triton.jit
def split(index, height, width):
    """Clip, row and column of positions that are counted by columns, then rows, then clips."""
    rest = index // width
    return rest // height, rest % height, index % width


@triton.jit
def larger(a, b):
    """The maximum; NaN where either is NaN, as in torch, so that a broken step shows in the loss."""
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def relu(x):
    """`max(x, 0)`; NaN stays."""
    return tl.where(x < 0, 0.0, x)


@triton.jit
def first_maximum(values):
    """Which of four equally shaped blocks has the maximum, the first of equals, and the maximum itself."""
    best = values[0]
    winner = tl.zeros(best.shape, tl.int32)
    for place in tl.static_range(1, 4):
        winner = tl.where(values[place] > best, place, winner)
        best = larger(best, values[place])
    return winner, best


@triton.jit
def _sum_rows_kernel(rows, out, n_rows, n_columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((ROWS, COLUMNS), tl.float64)
    for start in range(0, n_rows, ROWS):
        row = start + tl.arange(0, ROWS)
        inside = (row < n_rows)[:, None] & (column < n_columns)[None, :]
        total += tl.load(rows + row[:, None] * n_columns + column[None, :], mask=inside, other=0.0).to(tl.float64)
    tl.store(out + column, tl.sum(total, axis=0).to(out.dtype.element_ty), mask=column < n_columns)


def sum_rows(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Sums over the first dimension of what the programs of a first stage wrote, taken in float64, in a fixed order."""
    out = torch.empty(rows.shape[1:], dtype=dtype, device=rows.device)
    launch = SECOND_STAGE.for_values(rows.dtype)
    grid = (-(-out.numel() // launch.channels),)
    constants = {"ROWS": launch.rows, "COLUMNS": launch.channels}
    run(_sum_rows_kernel, grid, rows, out, len(rows), out.numel(), launch=launch, **constants)
    return out
