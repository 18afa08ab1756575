"""Random resize crop: shifts and stretches in frequency and time, as two batched matrix products."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from byol_a.augment.config import RandomResizeCropConfig
from byol_a.augment.params import Batch, Params, uniform
from byol_a.errors import ByolaError

CUBIC_A = -0.75  # the bicubic kernel's free parameter, as in F.interpolate


@dataclass(frozen=True)
class CropParams(Params):
    """Per clip, the crop's corner and size on the canvas, in mel bins and frames (int64)."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor


def _cubic_weights(fraction: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The cubic convolution kernel (Keys 1981) at the taps -1, 0, 1, 2 around a position's integer part."""

    def near(d: Tensor) -> Tensor:  # |d| <= 1
        return ((CUBIC_A + 2) * d - (CUBIC_A + 3)) * d * d + 1

    def far(d: Tensor) -> Tensor:  # 1 < |d| < 2
        return ((CUBIC_A * d - 5 * CUBIC_A) * d + 8 * CUBIC_A) * d - 4 * CUBIC_A

    return far(1 + fraction), near(fraction), near(1 - fraction), far(2 - fraction)


def resize_matrix(start: Tensor, size: Tensor, n_in: int, n_out: int, dtype: torch.dtype) -> Tensor:
    """W (N, n_out, n_in) such that `W @ x` is the cubic resize of the span [start, start + size) of x.

    Corners are aligned. The span may stick out of x, which is zero outside [0, n_in): those columns are
    simply left out. Taps that would leave the span take its edge value.

    Args:
        start, size: int64 (N,), size >= 1.
    """
    # Output o looks at o (size - 1) / (n_out - 1) within the span; in integers, so exact at any precision.
    steps = max(n_out - 1, 1)
    numerator = (size - 1)[:, None] * torch.arange(n_out, device=size.device)  # (N, n_out)
    whole = torch.div(numerator, steps, rounding_mode="floor")
    fraction = (numerator - whole * steps).to(dtype) / steps

    weights = torch.zeros(len(size), n_out, n_in, dtype=dtype, device=size.device)
    last = (size - 1)[:, None]
    # One tap at a time: edge taps share a column, and a fixed order of sums is reproducible on a GPU too.
    for tap, weight in enumerate(_cubic_weights(fraction), start=-1):
        column = torch.minimum((whole + tap).clamp_(min=0), last) + start[:, None]
        inside = (column >= 0) & (column < n_in)
        weights.scatter_add_(2, column.clamp_(0, n_in - 1)[..., None], (weight * inside)[..., None])
    return weights


class RandomResizeCrop:
    """RRC of BYOL-A (arXiv 2103.06695): a random crop of a zero canvas, resized to the input's size.

    The canvas is `virtual_crop_scale` times the input (F, T), with the input in its middle. The crop's height
    is floor(U(freq_scale) F) and its width floor(U(time_scale) T), neither larger than the canvas, its
    position uniform; the resize is bicubic with aligned corners. Such a resize is linear along each
    direction, so the whole is `W_f @ x @ W_t^T`, equal to cropping and resizing the canvas but for rounding.
    """

    def __init__(self, config: RandomResizeCropConfig, n_mels: int, n_frames: int) -> None:
        self.config = config
        self.input_size = (n_mels, n_frames)
        freq, time = config.virtual_crop_scale
        self.canvas_size = (int(n_mels * freq), int(n_frames * time))

    def draw(self, batch: Batch, generator: torch.Generator) -> CropParams:
        """Crops for `batch` clips."""

        def span(scale: tuple[float, float], length: int, room: int) -> tuple[Tensor, Tensor]:
            size = (uniform(batch, *scale, generator) * length).long().clamp_(1, room)
            places = room - size + 1
            start = (uniform(batch, 0.0, 1.0, generator) * places).long()
            return torch.minimum(start, places - 1), size  # u * places may round up to places

        top, height = span(self.config.freq_scale, self.input_size[0], self.canvas_size[0])
        left, width = span(self.config.time_scale, self.input_size[1], self.canvas_size[1])
        return CropParams(top, left, height, width)

    def windows(self, x: Tensor, params: CropParams) -> CropParams:
        """The crops of x (..., F, T), their corners counted from that of the input, where the margin is below 0.

        Raises:
            ByolaError: if x is not of the size this crop was made for.
        """
        if x.shape[-2:] != self.input_size:
            raise ByolaError(
                f"the crop was made for clips of (mel bins, frames) {self.input_size} and was given "
                f"{tuple(x.shape[-2:])}; make Views with the size of the clips it will see"
            )
        params = params.to(x.device)
        freq_margin, time_margin = (
            (canvas - size) // 2 for canvas, size in zip(self.canvas_size, self.input_size, strict=True)
        )
        return replace(params, top=params.top - freq_margin, left=params.left - time_margin)

    def apply(self, x: Tensor, params: CropParams) -> Tensor:
        """Crop and resize x (..., F, T), whose leading dimensions are those of the parameters.

        Raises:
            ByolaError: if x is not of the size this crop was made for.
        """
        windows = self.windows(x, params)
        n_mels, n_frames = self.input_size
        rows = resize_matrix(windows.top.flatten(), windows.height.flatten(), n_mels, n_mels, x.dtype)
        columns = resize_matrix(windows.left.flatten(), windows.width.flatten(), n_frames, n_frames, x.dtype)
        with torch.autocast(x.device.type, enabled=False):  # bf16 products would blur the picture
            cropped = torch.bmm(rows, torch.bmm(x.reshape(-1, n_mels, n_frames), columns.mT))
        return cropped.view(x.shape)
