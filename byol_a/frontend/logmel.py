"""`LogMel`: waveforms of any batch shape and length to log-mel spectrograms."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol_a.errors import UsageError
from byol_a.frontend.backends import BACKENDS
from byol_a.frontend.config import FrontendConfig
from byol_a.frontend.fast import kernels_of, log_mel

EPS = torch.finfo(torch.float32).eps
"""Added before the logarithm, whatever the precision: digital silence is log(EPS) = -15.94."""


class LogMel(nn.Module):
    """Log-mel spectrogram `log(mel + eps)` with eps the float32 machine epsilon (arXiv 2103.06695).

    It has no parameters and no state: it works on the device of the wave it is given, in float32 (float64
    for a float64 wave with the "torch" and "librosa" front-ends), also under autocast. Gradients reach the
    wave, except through "librosa".

    Args:
        config: what to compute, and by which implementation.

    Attributes:
        fast: whether kernels may be used: of the "torch" front-end, n_fft a power of two, no gradient wanted.

    Raises:
        MissingPackageError: if the chosen implementation is not installed.
    """

    fast: bool = True

    def __init__(self, config: FrontendConfig | None = None) -> None:
        super().__init__()
        self.config = config or FrontendConfig()
        self._mel_power = BACKENDS[self.config.name](self.config)

    def forward(self, wave: Tensor) -> Tensor:
        """`wave` (..., S), floating point in [-1, 1], S >= 0 -> log-mel (..., F, T), T = 1 + S // hop.

        Raises:
            UsageError: if `wave` is not a floating-point tensor of at least one dimension.
        """
        return self._log_mel(self._checked(wave), self.config.n_fft // 2)

    def frames_of(self, samples: int) -> int:
        """T, the number of frames of a clip of `samples` samples."""
        return 1 + samples // self.config.hop_length

    def pad(self, wave: Tensor) -> Tensor:
        """Extend each clip by n_fft // 2 samples on both sides: (..., S) -> (..., S + n_fft).

        A clip too short to be mirrored is first extended with zeros at its end.
        """
        wave = self._checked(wave)
        samples, half = wave.shape[-1], self.config.n_fft // 2
        mirror = self.config.pad_mode == "reflect"
        if mirror and samples <= half:
            wave = F.pad(wave, (0, half + 1 - samples))
        if mirror:
            # Two flips and one copy: several times faster on CPU than reflection padding.
            before, after = wave[..., 1 : half + 1].flip(-1), wave[..., -half - 1 : -1].flip(-1)
            return torch.cat([before, wave, after], dim=-1)[..., : samples + 2 * half]
        return F.pad(wave, (half, half))

    def transform(self, padded: Tensor) -> Tensor:
        """Log-mel of a signal already padded: (..., S') -> (..., F, T), T = 1 + (S' - n_fft) // hop.

        Frame t depends on samples [t * hop, t * hop + n_fft) alone, so that a long padded signal may be cut
        into overlapping chunks whose frames are those of the whole.

        Raises:
            UsageError: if `padded` is shorter than n_fft, or not a floating-point tensor.
        """
        padded = self._checked(padded)
        if padded.shape[-1] < self.config.n_fft:
            raise UsageError(
                f"a padded signal has at least n_fft = {self.config.n_fft} samples, this one has "
                f"{padded.shape[-1]}; pass it through pad() first"
            )
        return self._log_mel(padded, 0)

    def identity(self) -> dict[str, Any]:
        """All that defines the numbers: implementation, version and parameters, JSON-able."""
        return self.config.identity()

    @classmethod
    def from_identity(cls, identity: dict[str, Any]) -> LogMel:
        """The front-end that `identity()` described.

        Raises:
            UsageError: on missing or unknown keys, wrong values, or a version newer than this package knows.
        """
        return cls(FrontendConfig.from_identity(identity))

    def extra_repr(self) -> str:
        return repr(self.config)

    def _log_mel(self, wave: Tensor, padding: int) -> Tensor:
        """(..., S) to (..., F, T), with `padding` samples more on both sides."""
        kernels = kernels_of(self.config, wave) if self.fast else None
        if kernels is None and padding > 0:
            return self._log_mel(self.pad(wave), 0)
        samples = wave.shape[-1]
        shape = (*wave.shape[:-1], self.config.n_mels, self.frames_of(samples + 2 * padding - self.config.n_fft))
        if math.prod(shape) == 0:
            return wave.new_empty(shape)
        waves = wave.reshape(math.prod(shape[:-2]), samples)
        if kernels is not None:
            return log_mel(kernels, self.config, waves, padding, EPS).view(shape)
        with torch.autocast(wave.device.type, enabled=False):
            mel = self._mel_power(waves)  # (B, F, T), a tensor of our own
            return mel.add_(EPS).log().view(shape)

    def _checked(self, wave: Tensor) -> Tensor:
        if not isinstance(wave, Tensor) or not wave.is_floating_point():
            kind = wave.dtype if isinstance(wave, Tensor) else type(wave).__name__
            raise UsageError(f"the front-end takes floating-point tensors in [-1, 1], not {kind}; convert it first")
        if wave.dim() == 0:
            raise UsageError("the front-end takes waves of shape (..., samples), not a single number")
        double = wave.dtype == torch.float64 and self.config.name in ("torch", "librosa")
        return wave.to(torch.float64 if double else torch.float32)
