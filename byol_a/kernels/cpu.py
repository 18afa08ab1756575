"""The kernels on a CPU: `cpu.cpp`, called through ctypes with the threads that torch has."""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import torch
from torch import Tensor

from byol_a.kernels.base import TAPS, Kernels
from byol_a.kernels.build import load_library, tiles_wanted
from byol_a.kernels.spectrum import Spectrum

LEVELS = 1 << 16  # of a dropout's random numbers
ROWS = 128  # summed in one go
PAIRS = [(first, second) for first in range(TAPS) for second in range(first, TAPS)]


_one_product = threading.Lock()  # they share a buffer


class CPUKernels(Kernels):
    """See `Kernels`; for float32, float64 and bfloat16.

    Raises:
        Unavailable: if the machine has no C++ compiler.
    """

    name = "compiled CPU kernels"
    channel_multiple = 16
    makes_views = True

    def __init__(self) -> None:
        self._library = load_library()
        # Compiled in where the processor has the tiles; the system may refuse them all the same.
        self.multiplies = tiles_wanted() and hasattr(self._library, "amx_matmul") and bool(self._library.amx_allowed())

    def patch_moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        n_clips, _, n_mels, n_frames = x.shape
        moments = torch.empty(n_clips, TAPS + len(PAIRS), dtype=torch.float64)
        self._call("patch_moments", x.dtype, x.contiguous(), n_clips, n_mels, n_frames, moments)
        totals = moments.sum(dim=0) / (n_clips * n_mels * n_frames)
        first, second = zip(*PAIRS, strict=True)
        products = torch.zeros(TAPS, TAPS, dtype=torch.float64)
        products[first, second] = products[second, first] = totals[TAPS:]
        return totals[:TAPS], products

    def conv_relu_pool(self, x: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> None:
        self._call("conv_relu_pool", out.dtype, *_convolution(x, weight, bias), *_map(out))

    def conv_relu_pool_backward(
        self, x: Tensor, weight: Tensor, bias: Tensor, gradient: Tensor
    ) -> tuple[Tensor, Tensor]:
        sums = x.new_empty(len(x), TAPS + 1, len(bias))
        gradient = side_by_side(gradient)
        self._call("conv_relu_pool_backward", gradient.dtype, *_convolution(x, weight, bias), *_map(gradient), sums)
        total = _sum_over_clips(sums)
        return total[:TAPS].t(), total[TAPS]

    def channel_moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        n_clips, n_channels, height, width = x.shape
        moments = x.new_empty(n_clips, 2, n_channels, dtype=arithmetic_type(x.dtype))
        self._call("channel_moments", x.dtype, *_map(x), n_clips, height, width, n_channels, moments)
        means, squares = moments.double().unbind(dim=1)
        mean = means.mean(dim=0)
        variance = squares.mean(dim=0) / (height * width) + (means - mean).square().mean(dim=0)
        return mean.to(moments.dtype), variance.to(moments.dtype)

    def affine_relu_pool(self, x: Tensor, scale: Tensor, shift: Tensor, out: Tensor) -> None:
        self._call("affine_relu_pool", x.dtype, *_affine(x, scale, shift), *_map(out))

    def affine_relu_pool_sums(self, x: Tensor, scale: Tensor, shift: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        sums = scale.new_empty(len(x), 2, len(scale))
        self._call("affine_relu_pool_sums", x.dtype, *_affine(x, scale, shift), *_map(side_by_side(gradient)), sums)
        of_shift, of_scale = _sum_over_clips(sums)
        return of_shift, of_scale

    def affine_relu_pool_backward(
        self, x: Tensor, scale: Tensor, shift: Tensor, gradient: Tensor, slope: Tensor, offset: Tensor, out: Tensor
    ) -> None:
        arguments = (*_affine(x, scale, shift), *_map(side_by_side(gradient)), slope, offset, *_map(out))
        self._call("affine_relu_pool_backward", x.dtype, *arguments)

    def relu_dropout(self, x: Tensor, p: float, seed: int | Tensor) -> Tensor:
        out = torch.empty_like(x)
        self._call(
            "relu_dropout", x.dtype, x, x.numel(), ctypes.c_uint64(int(seed)), ctypes.c_int(round(p * LEVELS)), out
        )
        return out

    def relu_dropout_backward(self, gradient: Tensor, y: Tensor, p: float) -> Tensor:
        out = torch.empty_like(y)
        self._call(
            "relu_dropout_backward", y.dtype, gradient.contiguous(), y, y.numel(), ctypes.c_int(round(p * LEVELS)), out
        )
        return out

    def relu_pool_time(self, x: Tensor, out: Tensor) -> None:
        self._call("relu_pool_time", x.dtype, x, *x.shape, out, out.stride(0))

    def relu_pool_time_backward(self, x: Tensor, gradient: Tensor) -> Tensor:
        out = torch.empty_like(x)
        gradient = gradient if gradient.stride(1) == 1 else gradient.contiguous()
        self._call("relu_pool_time_backward", x.dtype, x, *x.shape, gradient, gradient.stride(0), out)
        return out

    def matmul(self, a: Tensor, b: Tensor, bias: Tensor | None, store: torch.dtype) -> Tensor:
        (m, k), n = a.shape, b.shape[1]
        if 0 in (m, k, n):
            return a.new_zeros(m, n, dtype=store) if bias is None else bias.to(store).repeat(m, 1)
        out = a.new_empty(m, n, dtype=store if k <= self._library.amx_depth() else torch.float32)
        arguments = (*_matrix(a), *_matrix(b), ctypes.c_void_p(None) if bias is None else bias, out)
        is_float = ctypes.c_int(out.dtype == torch.float32)
        threads = ctypes.c_int(torch.get_num_threads())
        with _one_product:
            done = self._library.amx_matmul(*map(as_c, arguments), is_float, *map(as_c, (n, m, n, k)), threads)
        if not done:
            raise torch.OutOfMemoryError(f"there is no memory for a product of {m} x {k} x {n}")
        return out.to(store)

    def column_sums(self, x: Tensor) -> Tensor:
        sums = x.new_empty(-(-len(x) // ROWS), x.shape[1], dtype=arithmetic_type(x.dtype))
        self._call("column_sums", x.dtype, x, *x.shape, ROWS, sums)
        return _sum_over_clips(sums)

    def log_mel(self, wave: Tensor, spectrum: Spectrum, hop: int, padding: int, mirror: bool, eps: float) -> Tensor:
        n_clips, samples = wave.shape
        extended = max(samples, padding + 1) if mirror else samples
        n_frames = 1 + (samples + 2 * padding - spectrum.size) // hop
        out = wave.new_empty(n_clips, spectrum.n_mels, n_frames)
        waves = (wave, n_clips, wave.stride(0), samples, extended, padding, mirror)
        self._call("log_mel", wave.dtype, *waves, n_frames, hop, eps, *spectrum.tables(), out)
        return out

    def make_views(
        self,
        x: Tensor,
        memory: Tensor | None,
        slots: Tensor,
        ratios: Tensor,
        crops: Tensor | None,
        fades: Tensor | None,
        out: Tensor,
    ) -> Tensor:
        moments = torch.empty(len(x) * x.shape[1], 3, dtype=torch.float64)
        parameters = (memory, slots, ratios, crops, fades)
        self._call("make_views", x.dtype, x, x.stride(0), *parameters, *x.shape, out, moments)
        return moments

    def standardize(self, x: Tensor, mean: Tensor, deviation: Tensor) -> None:
        self._call("standardize", x.dtype, x, x.numel(), float(mean), float(deviation))

    def _call(self, name: str, store: torch.dtype, *arguments: Any) -> None:
        """Call a kernel for a storage type: tensors as pointers, numbers as 64-bit ones, the threads last."""
        kernel = getattr(self._library, f"{name}_{str(store).removeprefix('torch.')}")
        kernel(*(as_c(argument) for argument in arguments), ctypes.c_int(torch.get_num_threads()))


def arithmetic_type(store: torch.dtype) -> torch.dtype:
    """What maps of a storage type are computed and summed in."""
    return torch.promote_types(store, torch.float32)


def side_by_side(x: Tensor) -> Tensor:
    """A map (N, C, H, W) with its channels side by side in memory, as it is where they are already."""
    return x if x.stride(1) == 1 else x.contiguous(memory_format=torch.channels_last)


def as_c(argument: Any) -> Any:
    """An argument of a C function: tensors as pointers, numbers as 64-bit ones, what is C's already as it is."""
    if isinstance(argument, Tensor):
        if argument.device.type != "cpu":
            raise TypeError(f"a tensor on {argument.device} was given to a CPU's kernel")
        return ctypes.c_void_p(argument.data_ptr())
    if argument is None:
        return ctypes.c_void_p(None)
    if isinstance(argument, float):
        return ctypes.c_double(argument)
    return ctypes.c_int64(argument) if isinstance(argument, int) else argument


def _matrix(x: Tensor) -> tuple[Any, ...]:
    """Pointer, whether it is float32 (bfloat16 else), and strides."""
    if x.dtype not in (torch.float32, torch.bfloat16):
        raise TypeError(f"matrices are float32 or bfloat16, not {x.dtype}")
    return x, ctypes.c_int(x.dtype == torch.float32), *x.stride()


def _map(x: Tensor) -> tuple[Any, ...]:
    """Pointer and strides of a map, but for the channels', which are side by side."""
    clip, _, row, column = x.stride()
    return x, clip, row, column


def _convolution(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Any, ...]:
    n_clips, _, n_mels, n_frames = x.shape
    return x.contiguous(), n_clips, n_mels, n_frames, len(bias), weight.t().contiguous(), bias


def _affine(x: Tensor, scale: Tensor, shift: Tensor) -> tuple[Any, ...]:
    n_clips, n_channels, height, width = x.shape
    return *_map(x), n_clips, height, width, n_channels, scale, shift


def _sum_over_clips(sums: Tensor) -> Tensor:
    return sums.sum(dim=0, dtype=torch.float64).to(sums.dtype)
