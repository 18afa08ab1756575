"""How the Triton kernels are launched: tile sizes, warps, and how many programs share out the tiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

INTERPRETED = bool(triton.knobs.runtime.interpret)
"""Whether Triton's interpreter runs the kernels, on CPU tensors."""

CHANNEL_MULTIPLE = 16


@dataclass(frozen=True)
class Launch:
    """The shape of one kernel's launches. It never changes a result but for the rounding of sums.

    Attributes:
        rows: positions (of a map, or elements) in a tile, a power of two, where a value has 16 bits; of wider ones as
            many as take the same memory, at least 16 if at least 16 were asked for.
        channels: most channels in a tile; a power of two, at least 16.
        warps: warps of 32 threads in a program.
        programs: most programs over the positions: each takes every `programs`-th tile. What each sums takes a row
            of a buffer, so that more of them cost memory traffic, fewer leave multiprocessors idle.
    """

    rows: int
    channels: int = 64
    warps: int = 4
    programs: int = 1 << 30

    def for_values(self, store: torch.dtype) -> Launch:
        """The launch for maps of a type."""
        return replace(self, rows=max(min(16, self.rows), 2 * self.rows // store.itemsize))

    def tiles(self, positions: int) -> int:
        """Tiles that cover the positions; the kernels count positions, and one round of tiles beyond, in 32 bits.

        Raises:
            ValueError: for more than 2^30 positions.
        """
        if positions > 1 << 30:
            raise ValueError(f"the kernels take up to 2^30 positions at a time, not {positions}")
        return -(-positions // self.rows)

    def shared_out(self, positions: int) -> int:
        """Programs that share out the tiles of the positions."""
        return min(self.tiles(positions), self.programs)

    def block(self, channels: int) -> int:
        """Channels in a tile: the largest power of two that divides them all, so that no tile needs a mask for them.

        Raises:
            ValueError: unless the channels are a multiple of 16.
        """
        if channels % CHANNEL_MULTIPLE:
            raise ValueError(f"the kernels take channels in multiples of {CHANNEL_MULTIPLE}, not {channels}")
        return min(channels & -channels, self.channels)


LAUNCHES: Mapping[str, Launch] = MappingProxyType(
    {
        # Accumulators for 54 sums in the registers of each thread, so one float32 position for each of 128.
        "patch_moments": Launch(rows=256, programs=1024),
        # Accumulators of a tile are 32 registers of each thread. Several tiles for each program spread the cost of
        # reading and laying out the weights.
        "conv_relu_pool": Launch(rows=64, programs=2048),
        # Beside those stand as many sums; tiles this small leave room for four programs to a multiprocessor.
        "conv_relu_pool_backward": Launch(rows=16, programs=512),
        "channel_moments": Launch(rows=64, programs=1024),
        # Four values of a window times 32 by 64 in bfloat16 are 8 accesses of 16 bytes in flight from each thread.
        "affine_relu_pool": Launch(rows=32),
        "affine_relu_pool_sums": Launch(rows=32, programs=1024),
        "affine_relu_pool_backward": Launch(rows=32),
        # Up to 1024, the lanes of a draw.
        "relu_dropout": Launch(rows=1024),
        "relu_dropout_backward": Launch(rows=4096),
        "relu_pool_time": Launch(rows=8, channels=256),
        "relu_pool_time_backward": Launch(rows=8, channels=256),
    }
)
"""One for each kernel, reasoned for a Hopper GPU and AudioNTT's 64 channels. `CUDAKernels(launches)` takes others."""


@torch.compiler.disable
def run(kernel: Any, grid: tuple[int, ...], *arguments: Any, launch: Launch, **constants: Any) -> None:
    """Launch a kernel on the device of its first argument. `torch.compile` leaves its graph here and comes back."""
    with torch.cuda.device_of(arguments[0]):
        kernel[grid](*arguments, num_warps=launch.warps, **constants)


def arithmetic(store: torch.dtype) -> tl.dtype:
    """What maps of a storage type are computed and summed in, as Triton names it."""
    return tl.float64 if store == torch.float64 else tl.float32


def strides(x: Tensor) -> tuple[int, int, int]:
    """A map's (N, C, H, W) strides, but for the channels', which lie side by side."""
    clip, _, row, column = x.stride()
    return clip, row, column
