"""ReLU and dropout in one pass, with 16 bits of a counter-based generator for each element."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from byol_a.kernels.triton.common import relu
from byol_a.kernels.triton.launch import Launch, arithmetic, run

LEVELS = 1 << 16  # of a random number
LANES = 1024
PIECES = 8  # of 16 bits in one draw
CHUNK = LANES * PIECES


@triton.jit
def _gain(dropped, REAL: tl.constexpr):
    """What is kept is scaled by this; where nothing is, by any number."""
    return 65536 / tl.maximum(65536 - dropped, 1).to(REAL)


@triton.jit(do_not_specialize=["seed", "dropped"])
def _relu_dropout_kernel(
    x, seed, out, size, dropped, SEED_AT: tl.constexpr, REAL: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr
):
    if SEED_AT:
        seed = tl.load(seed)
    # A draw of 128 bits serves eight elements, LANES apart, so that each eighth is read side by side. Which draw and
    # which bits are an element's depends on its position alone, not on the size of a tile.
    parts: tl.constexpr = LANES // ROWS
    chunk = (tl.program_id(0) // parts).to(tl.int64)
    lane = (tl.program_id(0) % parts) * ROWS + tl.arange(0, ROWS)
    # Seven rounds pass every statistical test, and leave the arithmetic hidden behind the memory (Salmon et al. 2011,
    # "Parallel random numbers: as easy as 1, 2, 3", table 2).
    words = tl.randint4x(seed, chunk * LANES + lane, n_rounds=7)
    gain = _gain(dropped, REAL)
    for piece in tl.static_range(8):
        at = chunk * (8 * LANES) + piece * LANES + lane
        value = relu(tl.load(x + at, mask=at < size, other=0.0).to(REAL)) * gain
        number = (words[piece // 2].to(tl.uint32, bitcast=True) >> (16 * (piece % 2))) & 0xFFFF
        value = tl.where(number.to(tl.int32) >= dropped, value, 0.0)
        tl.store(out + at, value.to(out.dtype.element_ty), mask=at < size)


@triton.jit(do_not_specialize=["dropped"])
def _relu_dropout_backward_kernel(gradient, y, out, size, dropped, REAL: tl.constexpr, ROWS: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    kept = tl.load(y + at, mask=at < size, other=0.0).to(REAL) > 0
    value = tl.load(gradient + at, mask=at < size, other=0.0).to(REAL) * _gain(dropped, REAL)
    tl.store(out + at, tl.where(kept, value, 0.0).to(out.dtype.element_ty), mask=at < size)


def relu_dropout(x: Tensor, p: float, seed: int | Tensor, launch: Launch) -> Tensor:
    """See `CUDAKernels.relu_dropout`."""
    launch = launch.for_values(x.dtype)
    out = torch.empty_like(x)
    grid = (-(-x.numel() // CHUNK) * (LANES // launch.rows),)
    run(
        _relu_dropout_kernel, grid, x, seed, out, x.numel(), round(p * LEVELS), SEED_AT=isinstance(seed, Tensor),
        REAL=arithmetic(x.dtype), ROWS=launch.rows, LANES=LANES, launch=launch,
    )  # fmt: skip
    return out


def relu_dropout_backward(gradient: Tensor, y: Tensor, p: float, launch: Launch) -> Tensor:
    """See `Kernels.relu_dropout_backward`."""
    launch = launch.for_values(y.dtype)
    out = torch.empty_like(y)
    run(
        _relu_dropout_backward_kernel, (-(-y.numel() // launch.rows),), gradient.contiguous(), y, out, y.numel(),
        round(p * LEVELS), REAL=arithmetic(y.dtype), ROWS=launch.rows, launch=launch,
    )  # fmt: skip
    return out
