"""What a set of kernels offers: the passes over feature maps that a BYOL-A step spends its time on, each in one go.

Written for the memory, not the arithmetic: around the matrix products of AudioNTT stand batch norm, ReLU, pooling and
dropout over maps that fit no cache. A kernel here reads what it needs once and writes what the next product reads.
None of them knows of gradients, modules or training; `functions` puts them together for autograd.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from byol_a.kernels.spectrum import Spectrum

TAPS = 9
"""Pixels under a 3x3 kernel, row by row: tap 3 i + j looks at the pixel (f + i - 1, t + j - 1)."""


class Kernels(ABC):
    """One device's kernels. Maps (N, C, H, W) have their channels side by side in memory, at any other strides.

    Sums are taken in float32 at least, in float64 for float64 maps; the storage type is the map's: float32, float64
    where the device has it, or bfloat16. Sums over clips do not depend on the number of threads.

    Attributes:
        name: what a log says is in use.
        channel_multiple: channels and features come in multiples of this.
        multiplies: whether there is a `matmul` here that is faster than torch's.
        makes_views: whether there are `log_mel`, `make_views` and `standardize` here.
    """

    name: str
    channel_multiple: int
    multiplies: bool = False
    makes_views: bool = False

    @abstractmethod
    def patch_moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (9,) and mean products (9, 9), float64, of the zero-padded 3x3 patches of images (N, 1, F, T)."""

    @abstractmethod
    def conv_relu_pool(self, x: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> None:
        """`max_pool2d(relu(conv2d(x, weight, bias, padding=1)), 2)`, never writing the full map.

        Args:
            x: (N, 1, F, T).
            weight: (C, 9). The same type as `x`, as is `bias`.
            bias: (C,).
            out: (N, C, F // 2, T // 2), written.
        """

    @abstractmethod
    def conv_relu_pool_backward(
        self, x: Tensor, weight: Tensor, bias: Tensor, gradient: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gradients of `weight` (C, 9) and `bias` (C,) from that of the output; the map is computed again.

        Of equal maxima the first in reading order has the gradient, as in torch.
        """

    @abstractmethod
    def channel_moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (over n, not n - 1) of each channel of (N, C, H, W), (C,) each, without cancellation."""

    @abstractmethod
    def affine_relu_pool(self, x: Tensor, scale: Tensor, shift: Tensor, out: Tensor) -> None:
        """`max_pool2d(relu(scale x + shift), 2)` of (N, C, H, W), channel by channel, into `out`."""

    @abstractmethod
    def affine_relu_pool_sums(self, x: Tensor, scale: Tensor, shift: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of `shift`, sum(g), and of `scale`, sum(g x), (C,) each: g stands where the maximum came from.

        Of equal maxima the first in reading order counts; where the output is 0 there is no gradient.
        """

    @abstractmethod
    def affine_relu_pool_backward(
        self, x: Tensor, scale: Tensor, shift: Tensor, gradient: Tensor, slope: Tensor, offset: Tensor, out: Tensor
    ) -> None:
        """`scale g + slope x + offset` at every position of `x` into `out`, g as in `affine_relu_pool_sums`.

        Slope and offset (C,) are what the gradient gains by way of the batch's mean and variance.
        """

    @abstractmethod
    def relu_dropout(self, x: Tensor, p: float, seed: int | Tensor) -> Tensor:
        """`dropout(relu(x), p)` of a contiguous tensor; the mask is a function of the seed (63 bits) and the position.

        `p` is met to within 1 / 131072. What is kept is scaled so that the mean stays.
        """

    @abstractmethod
    def relu_dropout_backward(self, gradient: Tensor, y: Tensor, p: float) -> Tensor:
        """The gradient of `relu_dropout`'s input from its output `y`: where that is 0, so is the gradient."""

    @abstractmethod
    def relu_pool_time(self, x: Tensor, out: Tensor) -> None:
        """Maximum plus mean over time of relu(x), (N, T, D) contiguous, into `out` (N, D), features side by side.

        `out` is of the type that sums are taken in.
        """

    @abstractmethod
    def relu_pool_time_backward(self, x: Tensor, gradient: Tensor) -> Tensor:
        """The gradient (N, T, D) of `relu_pool_time`'s input; equal maxima share it, as in torch's `amax`."""

    def matmul(self, a: Tensor, b: Tensor, bias: Tensor | None, store: torch.dtype) -> Tensor:
        """`a b + bias` of (M, K) and (K, N), where `multiplies`: operands rounded to bfloat16, sums in float32.

        Args:
            a: bfloat16 or float32; one of its strides is 1.
            b: likewise.
            bias: (N,) float32.
            store: bfloat16 or float32, the type of the product.
        """
        raise NotImplementedError

    def column_sums(self, x: Tensor) -> Tensor:
        """The sum of the rows of a contiguous matrix (M, N), where `multiplies`; (N,), in float32 at least."""
        raise NotImplementedError

    def log_mel(self, wave: Tensor, spectrum: Spectrum, hop: int, padding: int, mirror: bool, eps: float) -> Tensor:
        """Log-mels (B, F, T) of waves (B, S), where `makes_views`: `log(mel + eps)` of windowed frames' power.

        Args:
            wave: float32 or float64, at least one of them; samples side by side.
            spectrum: tables of the wave's type.
            hop: samples from one frame to the next.
            padding: samples before and after each wave.
            mirror: whether they are its mirror image (of a wave too short for that, with zeros at its end), or zeros.
            eps: as is.
        """
        raise NotImplementedError

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
        """Views of normalised log-mels, where `makes_views`: log-mixup-exp, then resize crop, then linear fader.

        Args:
            x: (V, B, F, T), clips contiguous, float32 or float64; the views may be one and the same.
            memory: (M, F, T) of the same type, contiguous; None to mix nothing.
            slots: (V, B) int64, each clip's partner in the memory.
            ratios: (V, B), the partner's weight.
            crops: (V, B, 4) int64, top, left, height and width, the corner counted from the input's; None for none.
            fades: (V, B, 2), what is added to the first and to the last frame; None for none.
            out: (V, B, F, T) contiguous, written.

        Returns:
            (V B, 3) float64: of each view of a clip the count, mean and sum of squared deviations.
        """
        raise NotImplementedError

    def standardize(self, x: Tensor, mean: Tensor, deviation: Tensor) -> None:
        """`(x - mean) / deviation` in place, of a contiguous tensor, where `makes_views`; by two numbers ()."""
        raise NotImplementedError
