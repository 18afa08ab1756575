"""Four implementations of one thing: the mel power spectrogram of signals already padded.

Each is made from a `FrontendConfig` and called with `padded` (B, S'), B >= 1 and S' >= n_fft, float32 or
float64; it returns a new tensor (B, F, T) with T = 1 + (S' - n_fft) // hop. Tables live in caches keyed by
device, not in buffers: they are no part of a model's weights and are not cast to half precision with them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from byol_a.errors import UsageError, require
from byol_a.frontend.config import FrontendConfig
from byol_a.frontend.mel import mel_filterbank
from byol_a.frontend.precision import full_precision

Backend = Callable[[Tensor], Tensor]

# Frames transformed at a time. On CPU the windowed frames and their spectra (8 kB a frame) then stay in the
# cache, worth a factor of several, while blocks are large enough that threads seldom wait for each other; on
# an accelerator it only bounds the memory, at about a gigabyte.
_FRAMES_CPU = 768
_FRAMES_ACCELERATOR = 65536
# Mel bins multiplied at a time on CPU: each block touches only the part of the spectrum its triangles cover.
_MELS_CPU = 32


class _Band(NamedTuple):
    first_bin: int
    last_bin: int  # exclusive
    weights: Tensor  # (2 * bins, mels): every row twice, for the squares of real and imaginary part


def window_of(config: FrontendConfig) -> Tensor:
    """The window, float64: Hann's, centred in zeros (n_fft,)."""
    window = torch.hann_window(config.win_length, dtype=torch.float64, device="cpu")
    left = (config.n_fft - config.win_length) // 2
    return torch.nn.functional.pad(window, (left, config.n_fft - config.win_length - left))


@functools.lru_cache(maxsize=32)
def _tables(config: FrontendConfig, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, list[_Band]]:
    """The window (n_fft,) and the mel weights in bands."""
    with torch.inference_mode(False):  # else tables first made in inference could not be used in training
        window = window_of(config)
        mel = mel_filterbank(config, torch.float64)
        bands = []
        for block in mel.split(_MELS_CPU if device.type == "cpu" else config.n_mels):
            used = block.sum(0).nonzero().flatten().tolist() or [0]  # a block may be empty: one row of zeros
            weights = block[:, used[0] : used[-1] + 1].T.repeat_interleave(2, dim=0)
            bands.append(_Band(used[0], used[-1] + 1, weights.contiguous().to(device, dtype)))
        return window.to(device, dtype), bands


class TorchBackend:
    """Our own: frames, window, real FFT and mel product in cache-sized blocks, on any device."""

    def __init__(self, config: FrontendConfig) -> None:
        self.config = config

    def __call__(self, padded: Tensor) -> Tensor:
        window, bands = _tables(self.config, padded.device, padded.dtype)
        frames = padded.unfold(-1, self.config.n_fft, self.config.hop_length)  # (B, T, n_fft), no copy
        limit = _FRAMES_CPU if padded.device.type == "cpu" else _FRAMES_ACCELERATOR
        n_frames = frames.shape[1]
        with full_precision():
            blocks = []
            for clips in frames.split(max(1, limit // n_frames)):
                parts = [self._mel(part, window, bands) for part in clips.split(limit, dim=1)]
                blocks.append(parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1))
            return torch.cat(blocks)  # this copy also lays the frames out as (B, F, T)

    @staticmethod
    def _mel(frames: Tensor, window: Tensor, bands: list[_Band]) -> Tensor:
        """(b, t, n_fft) -> (b, F, t), a transposed view."""
        spectrum = torch.fft.rfft(frames * window)  # (b, t, K) complex
        # Real and imaginary parts squared side by side; the mel product adds the two, which saves a pass.
        squares = torch.view_as_real(spectrum).square_().flatten(-2)  # (b, t, 2K)
        mel = [squares[..., 2 * band.first_bin : 2 * band.last_bin] @ band.weights for band in bands]
        return torch.cat(mel, dim=-1).transpose(1, 2)


class NNAudioBackend:
    """nnAudio (Cheuk et al. 2020): Fourier kernels as a strided convolution; what BYOL-A's authors used."""

    def __init__(self, config: FrontendConfig) -> None:
        self.config = config
        require("nnAudio.features.mel", "the nnaudio front-end", "nnAudio")

    def __call__(self, padded: Tensor) -> Tensor:
        with full_precision():
            mel: Tensor = _nnaudio_layer(self.config, padded.device)(padded)
        return mel


@functools.lru_cache(maxsize=8)
def _nnaudio_layer(config: FrontendConfig, device: torch.device) -> Any:
    features = require("nnAudio.features.mel", "the nnaudio front-end", "nnAudio")
    with torch.inference_mode(False):
        return features.MelSpectrogram(
            sr=config.sample_rate,
            n_fft=config.n_fft,
            win_length=config.win_length,
            hop_length=config.hop_length,
            n_mels=config.n_mels,
            fmin=config.f_min,
            fmax=config.f_max,
            htk=config.mel_scale == "htk",
            norm=1 if config.mel_norm else None,
            center=False,
            power=2.0,
            verbose=False,
        ).to(device)


class TorchaudioBackend:
    """torchaudio's `MelSpectrogram`."""

    def __init__(self, config: FrontendConfig) -> None:
        self.config = config
        require("torchaudio.transforms", "the torchaudio front-end", "torchaudio")

    def __call__(self, padded: Tensor) -> Tensor:
        with full_precision():
            mel: Tensor = _torchaudio_layer(self.config, padded.device)(padded)
        return mel.contiguous()


@functools.lru_cache(maxsize=8)
def _torchaudio_layer(config: FrontendConfig, device: torch.device) -> Any:
    transforms = require("torchaudio.transforms", "the torchaudio front-end", "torchaudio")
    with torch.inference_mode(False):
        return transforms.MelSpectrogram(
            sample_rate=config.sample_rate,
            n_fft=config.n_fft,
            win_length=config.win_length,
            hop_length=config.hop_length,
            n_mels=config.n_mels,
            f_min=config.f_min,
            f_max=config.f_max,
            mel_scale=config.mel_scale,
            norm=config.mel_norm,
            center=False,
            power=2.0,
        ).to(device)


class LibrosaBackend:
    """librosa's `feature.melspectrogram`, on the CPU whatever the wave's device, in the wave's precision."""

    def __init__(self, config: FrontendConfig) -> None:
        self.config = config
        require("librosa", "the librosa front-end")

    def __call__(self, padded: Tensor) -> Tensor:
        if padded.requires_grad and torch.is_grad_enabled():
            raise UsageError("the librosa front-end has no gradient; use the torch front-end where the wave needs one")
        librosa = require("librosa", "the librosa front-end")
        wave = padded.detach().cpu().numpy()
        mel = librosa.feature.melspectrogram(
            y=wave,
            sr=self.config.sample_rate,
            n_fft=self.config.n_fft,
            win_length=self.config.win_length,
            hop_length=self.config.hop_length,
            n_mels=self.config.n_mels,
            fmin=self.config.f_min,
            fmax=self.config.f_max,
            htk=self.config.mel_scale == "htk",
            norm=self.config.mel_norm,
            center=False,
            power=2.0,
            dtype=wave.dtype,
        )
        return torch.from_numpy(mel).to(padded.device, padded.dtype).contiguous()


BACKENDS: dict[str, Callable[[FrontendConfig], Backend]] = {
    "torch": TorchBackend,
    "nnaudio": NNAudioBackend,
    "torchaudio": TorchaudioBackend,
    "librosa": LibrosaBackend,
}
