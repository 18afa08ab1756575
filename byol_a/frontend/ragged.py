"""Padding of a batch of waves of different lengths, each by itself, without a look at them from the host."""

from __future__ import annotations

import torch
from torch import Tensor

from byol_a.frontend.logmel import LogMel


def pad_each(logmel: LogMel, waves: Tensor, samples: Tensor) -> Tensor:
    """`logmel.pad` of each wave by itself, and zeros after it.

    Args:
        waves: (B, S), zeros beyond each one's end.
        samples: (B,) int64, their lengths, at most S; on the same device.

    Returns:
        (B, S + n_fft).
    """
    half = logmel.config.n_fft // 2
    position = torch.arange(-half, waves.shape[1] + half, device=waves.device)
    inside = position < samples[:, None] + half
    if logmel.config.pad_mode != "reflect":
        inside = inside & (position >= 0) & (position < samples[:, None])
        source = position.expand(len(waves), -1)
    else:
        # One too short to be mirrored has zeros at its end, as in `LogMel.pad`.
        last = samples.clamp(min=half + 1)[:, None] - 1
        source = last - (last - position.abs()).abs()
        inside = inside & (source < samples[:, None])
    return waves.gather(1, source.clamp(0, waves.shape[1] - 1)).masked_fill(~inside, 0)
