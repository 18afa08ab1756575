"""Layers of a network in evaluation on a CPU, whose weights are prepared once for many clips.

Each runs in the threads that torch has where it is called; with one thread, any number of them may run side by side.
"""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from byol_a.kernels.base import Kernels
from byol_a.kernels.build import load_library, tiles_wanted
from byol_a.kernels.cpu import as_c

Mlp: TypeAlias = Callable[[Tensor, Tensor], None]
"""Two linear layers, each with a ReLU after it, of rows (M, K) into (M, N), both contiguous."""
ConvReluPool: TypeAlias = Callable[[Tensor, Tensor], None]
"""`max_pool2d(relu(conv2d(x, w, bias, padding=1)), 2)` of (N, C, H, W) into (N, C', H // 2, W // 2).

The input's channels lie side by side, with nothing between its values; the output's at any strides.
"""

Linear: TypeAlias = tuple[Tensor, Tensor]  # a weight (outputs, inputs) and its bias (outputs,)

SIDE = 32  # inputs and outputs of the matrix unit come in multiples of this
PARTS = {torch.float32: 3, torch.bfloat16: 1}  # bfloat16 numbers that stand for one


class Products(ABC):
    """How the layers of one encoder are computed.

    Attributes:
        store: type of the maps and rows between layers.
    """

    store: torch.dtype

    @abstractmethod
    def mlp(self, first: Linear, second: Linear) -> Mlp:
        """Both layers, of weights (H, K) and (N, H), float32 or float64."""

    @abstractmethod
    def conv_relu_pool(self, weight: Tensor, bias: Tensor) -> ConvReluPool:
        """The layer of a weight (C', C, 3, 3) and a bias (C',), both float32 or float64."""


class TorchProducts(Products):
    """torch's own products, and the kernels' pooling.

    Args:
        kernels: of the CPU.
        store: float32, float64 or bfloat16: of operands too.
    """

    def __init__(self, kernels: Kernels, store: torch.dtype) -> None:
        self._kernels, self.store = kernels, store

    def mlp(self, first: Linear, second: Linear) -> Mlp:
        (weight1, bias1), (weight2, bias2) = ((tensor.to(self.store) for tensor in layer) for layer in (first, second))

        def layers(x: Tensor, out: Tensor) -> None:
            torch.addmm(bias2, F.linear(x, weight1, bias1).relu_(), weight2.t(), out=out).relu_()

        return layers

    def conv_relu_pool(self, weight: Tensor, bias: Tensor) -> ConvReluPool:
        weight = weight.to(self.store, memory_format=torch.channels_last)
        shift = bias.to(torch.promote_types(self.store, torch.float32))
        scale = torch.ones_like(shift)

        def layer(x: Tensor, out: Tensor) -> None:
            # Channels side by side also where torch takes another layout for a map of few rows or columns.
            made = F.conv2d(x, weight, padding=1).contiguous(memory_format=torch.channels_last)
            self._kernels.affine_relu_pool(made, scale, shift, out)

        return layer


class TileProducts(Products):
    """Products on the processor's bfloat16 matrix unit, in one thread; see `tiles.cpp`.

    With three parts a number they are as exact as float32's, and take less time; with one they round to bfloat16 what
    they multiply. Everything is added up and stored in float32.

    Args:
        precision: float32 (three parts) or bfloat16 (one).
    """

    store = torch.float32

    def __init__(self, precision: torch.dtype) -> None:
        self._parts = PARTS[precision]
        self._library = _library()

    def mlp(self, first: Linear, second: Linear) -> Mlp:
        (hidden, inputs), outputs = first[0].shape, len(second[0])
        made_of = [tensor for weight, bias in (first, second) for tensor in (self._packed(weight), bias.float())]

        def layers(x: Tensor, out: Tensor) -> None:
            sizes = len(x), inputs, hidden, outputs
            self._require(self._call("mlp", x, *sizes, *made_of, ctypes.c_int(self._parts), out))

        return layers

    def conv_relu_pool(self, weight: Tensor, bias: Tensor) -> ConvReluPool:
        outputs, inputs = weight.shape[:2]
        packed, bias = self._packed(weight.permute(0, 2, 3, 1).flatten(start_dim=1)), bias.float()

        def layer(x: Tensor, out: Tensor) -> None:
            height, width = x.shape[2:]
            shape, made_of = (height, width, inputs), (packed, bias, outputs, ctypes.c_int(self._parts))
            for clip, place in zip(x, out, strict=True):
                self._require(self._call("conv_relu_pool", clip, *shape, *made_of, place, *place.stride()[1:]))

        return layer

    def _packed(self, weight: Tensor) -> Tensor:
        weight = weight.float().contiguous()
        packed = torch.empty(self._parts * weight.numel(), dtype=torch.int16)
        threads = ctypes.c_int(torch.get_num_threads())
        self._call("pack", weight, *weight.shape, ctypes.c_int(self._parts), packed, threads)
        return packed

    def _call(self, name: str, *arguments: Tensor | int | ctypes.c_int) -> int:
        """Call a function of `tiles.cpp`: tensors as pointers, numbers as 64-bit integers."""
        returned: int = getattr(self._library, f"tiles_{name}")(*map(as_c, arguments))
        return returned

    @staticmethod
    def _require(memory: int) -> None:
        if not memory:
            raise torch.OutOfMemoryError("there is no memory for a product")


def products_for(kernels: Kernels, precision: torch.dtype, sizes: Sequence[int]) -> Products:
    """The fastest products of a precision here, for layers whose inputs and outputs have these sizes."""
    if precision in PARTS and all(size % SIDE == 0 for size in sizes) and _has_tiles():
        return TileProducts(precision)
    return TorchProducts(kernels, precision)


@cache
def _library() -> ctypes.CDLL:
    return load_library()


@cache
def _has_tiles() -> bool:
    return tiles_wanted() and bool(_library().tiles_allowed())
