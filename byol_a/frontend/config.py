"""The parameters of a log-mel front-end, checked where they are given."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, get_args

from byol_a.errors import UsageError

VERSION = 1
"""Raised whenever the numbers a given configuration produces change."""

FrontendName = Literal["torch", "nnaudio", "torchaudio", "librosa"]
MelScale = Literal["slaney", "htk"]
PadMode = Literal["reflect", "constant"]

# Beyond any use. A model's config.json may come from anybody, and these are what memory is taken for.
LARGEST = {"sample_rate": 10_000_000, "n_fft": 1 << 17, "n_mels": 1024}


@dataclasses.dataclass(frozen=True)
class FrontendConfig:
    """What a log-mel spectrogram is made of; the defaults are BYOL-A's (arXiv 2103.06695).

    The window is a periodic Hann window of `win_length` samples, centred in `n_fft`; the spectrum is a power
    spectrum. All four implementations (`name`) honour every other field and agree with each other.

    Args:
        name: which implementation computes it.
        sample_rate: of the waveforms, Hz.
        n_fft: FFT size in samples, even.
        win_length: window size in samples, at most `n_fft`.
        hop_length: samples from one frame to the next.
        n_mels: number of mel bins F.
        f_min, f_max: lower edge of the first mel bin and upper edge of the last, Hz.
        mel_scale: Slaney's (linear below 1 kHz, librosa's default) or HTK's (torchaudio's default).
        mel_norm: `"slaney"` divides each triangle by half its width in Hz (unit area);
            None leaves the peaks at 1.
        pad_mode: what stands beyond the two ends of a clip: its mirror image or zeros.
        version: of the numbers; stored with a model so that a later change cannot pass unseen.

    Raises:
        UsageError: if a value is of the wrong type or cannot be used.
    """

    name: FrontendName = "torch"
    sample_rate: int = 16000
    n_fft: int = 1024
    win_length: int = 1024
    hop_length: int = 160
    n_mels: int = 64
    f_min: float = 60.0
    f_max: float = 7800.0
    mel_scale: MelScale = "slaney"
    mel_norm: Literal["slaney"] | None = "slaney"
    pad_mode: PadMode = "reflect"
    version: int = VERSION

    def __post_init__(self) -> None:
        self._one_of("name", get_args(FrontendName))
        self._one_of("mel_scale", get_args(MelScale))
        self._one_of("mel_norm", ("slaney", None))
        self._one_of("pad_mode", get_args(PadMode))
        for field in ("sample_rate", "n_fft", "win_length", "hop_length", "n_mels", "version"):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UsageError(f"front-end: {field} must be a whole number of at least 1, not {value!r}")
            if value > LARGEST.get(field, value):
                raise UsageError(f"front-end: {field} can be at most {LARGEST[field]}, not {value}")
        for field in ("f_min", "f_max"):
            value = getattr(self, field)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
                raise UsageError(f"front-end: {field} must be a frequency in Hz, not {value!r}")
            object.__setattr__(self, field, float(value))  # 60 and 60.0 are one identity
        if self.n_fft % 2:
            raise UsageError(f"front-end: n_fft must be even, not {self.n_fft}")
        if self.win_length > self.n_fft:
            raise UsageError(f"front-end: win_length ({self.win_length}) must not be longer than n_fft ({self.n_fft})")
        if not 0 <= self.f_min < self.f_max <= self.sample_rate / 2:
            raise UsageError(
                f"front-end: frequencies must be 0 <= f_min < f_max <= sample_rate / 2, not f_min = "
                f"{self.f_min:g} and f_max = {self.f_max:g} at a sample_rate of {self.sample_rate}"
            )
        if self.version > VERSION:
            raise UsageError(
                f"front-end: version {self.version} was made by a newer byol-a (this one knows up to version "
                f"{VERSION}); upgrade byol-a to use it"
            )

    def _one_of(self, field: str, allowed: tuple[object, ...]) -> None:
        value = getattr(self, field)
        if value not in allowed:
            choices = ", ".join(repr(choice) for choice in allowed)
            raise UsageError(f"front-end: {field} must be one of {choices}, not {value!r}")

    @property
    def hop_seconds(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop_length / self.sample_rate

    def identity(self) -> dict[str, Any]:
        """Every field as a JSON-able dict; the inverse of `from_identity`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_identity(cls, identity: dict[str, Any]) -> FrontendConfig:
        """Build the configuration that `identity` describes; nothing missing is guessed.

        Raises:
            UsageError: if a key is missing or unknown, a value is wrong, or the version is newer than ours.
        """
        version = identity.get("version")
        if isinstance(version, int) and version > VERSION:
            return cls(version=version)  # says so, before keys we cannot know are called unknown
        known = {field.name for field in dataclasses.fields(cls)}
        unknown, missing = sorted(set(identity) - known), sorted(known - set(identity))
        if unknown:
            raise UsageError(f"front-end: unknown key {', '.join(map(repr, unknown))} in its identity")
        if missing:
            raise UsageError(f"front-end: its identity lacks {', '.join(map(repr, missing))}")
        return cls(**identity)
