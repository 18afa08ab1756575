"""The mel filterbank, on Slaney's scale or HTK's."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from byol_a.frontend.config import FrontendConfig, MelScale

# Slaney's Auditory Toolbox (1998): linear up to 1 kHz, 15 mel there, then 27 steps to a factor of 6.4.
_HZ_PER_MEL = 200 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27


def hz_to_mel(hz: np.ndarray | float, scale: MelScale) -> np.ndarray:
    """Frequency in Hz to mel."""
    hz = np.asarray(hz, dtype=np.float64)
    if scale == "htk":
        return 2595 * np.log10(1 + hz / 700)
    above = _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz / _HZ_PER_MEL, above)


def mel_to_hz(mel: np.ndarray | float, scale: MelScale) -> np.ndarray:
    """Mel to frequency in Hz."""
    mel = np.asarray(mel, dtype=np.float64)
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _HZ_PER_MEL, above)


def mel_filterbank(config: FrontendConfig, dtype: torch.dtype = torch.float32) -> Tensor:
    """The weights from power spectrum to mel bins, (n_mels, n_fft // 2 + 1), computed in float64.

    Triangles whose corners are equally spaced in mel from `f_min` to `f_max`; with `mel_norm="slaney"` each
    has unit area over Hz. Equal to `librosa.filters.mel`.
    """
    lowest, highest = hz_to_mel(config.f_min, config.mel_scale), hz_to_mel(config.f_max, config.mel_scale)
    corners = mel_to_hz(np.linspace(lowest, highest, config.n_mels + 2), config.mel_scale)  # (n_mels + 2,)
    left, centre, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]  # (n_mels, 1)
    bins = np.arange(config.n_fft // 2 + 1) * (config.sample_rate / config.n_fft)  # (K,) Hz
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    weights = np.maximum(0, np.minimum(rising, falling))  # (n_mels, K)
    if config.mel_norm == "slaney":
        weights *= 2 / (right - left)
    return torch.from_numpy(weights).to(dtype)
