"""Maps to try kernels on: channels side by side, in the middle of larger memory that holds NaN."""

from __future__ import annotations

import torch
from torch import Tensor

TYPES = [torch.float32, torch.float64, torch.bfloat16]
RELATIVE = {torch.float32: 2e-5, torch.float64: 1e-12, torch.bfloat16: 1e-2}
"""Allowed distance; that of bfloat16 covers the interpreter, which cuts numbers where a GPU rounds them."""


def embedded(values: Tensor) -> Tensor:
    """The values (N, C, H, W) as a map whose rows, columns and clips have room between them, filled with NaN."""
    n, c, h, w = values.shape
    memory = values.new_full((n + 1, h + 1, w + 2, c + 16), torch.nan)
    inside = memory[:n, :h, 1 : w + 1, :c].permute(0, 3, 1, 2)
    inside.copy_(values)
    return inside


def time_major(values: Tensor) -> Tensor:
    """The values (N, C, H, W) as a map that is (N, W, H, C) in memory."""
    return values.permute(0, 3, 2, 1).contiguous().permute(0, 3, 2, 1)


def untouched_around(x: Tensor) -> bool:
    """Whether the memory around an `embedded` map still holds NaN alone, and the map itself none."""
    memory = x._base
    assert memory is not None
    return not x.isnan().any() and int(memory.isnan().sum()) == memory.numel() - x.numel()


def real(dtype: torch.dtype) -> torch.dtype:
    """What maps of a type are computed in."""
    return torch.promote_types(dtype, torch.float32)


def assert_near(actual: Tensor, expected: Tensor, relative: float) -> None:
    """Within a share of the largest value that is expected."""
    actual, expected = actual.detach().double().cpu(), expected.detach().double().cpu()
    torch.testing.assert_close(actual, expected, rtol=relative, atol=relative * float(expected.abs().max()))
