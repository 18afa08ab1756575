"""Log-mels by a device's kernels, in one pass from the wave: what `TorchBackend` computes, several times faster."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from byol_a.frontend.backends import window_of
from byol_a.frontend.config import FrontendConfig
from byol_a.frontend.mel import mel_filterbank
from byol_a.kernels import Kernels, kernels_for
from byol_a.kernels.guards import is_ordinary
from byol_a.kernels.spectrum import Spectrum


def kernels_of(config: FrontendConfig, wave: Tensor) -> Kernels | None:
    """The kernels for `wave`, float32 or float64, where there are some: they have no gradient, nor every n_fft."""
    usable = (
        config.name == "torch"
        and Spectrum.takes(config.n_fft)
        and is_ordinary(wave)
        and not (wave.requires_grad and torch.is_grad_enabled())
    )
    kernels = kernels_for(wave.device) if usable else None
    return kernels if kernels is not None and kernels.makes_views else None


def log_mel(kernels: Kernels, config: FrontendConfig, wave: Tensor, padding: int, eps: float) -> Tensor:
    """Log-mel (B, F, T) of waves (B, S), B >= 1, with `padding` samples more on both sides; S + 2 padding >= n_fft."""
    if wave.shape[1] > 1 and wave.stride(1) != 1:
        wave = wave.contiguous()
    mirror = config.pad_mode == "reflect" and padding > 0
    return kernels.log_mel(wave, _spectrum(config, wave.dtype), config.hop_length, padding, mirror, eps)


@functools.lru_cache(maxsize=32)
def _spectrum(config: FrontendConfig, dtype: torch.dtype) -> Spectrum:
    with torch.inference_mode(False):
        return Spectrum.of(window_of(config), mel_filterbank(config, torch.float64), dtype)
