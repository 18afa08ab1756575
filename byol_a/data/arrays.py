"""Audio as arrays: the mean of the channels, and another sample rate."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from byol_a.errors import UsageError, require

HIGHEST_RATE = 10_000_000  # Hz: above, a rate is damage, and resampling would make next to nothing of hours


def require_soxr() -> ModuleType:
    return require("soxr", "changing the sample rate of audio")


def resample(wave: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """A mono signal (S,) from one rate in Hz to another with soxr's HQ filter: float32, not clipped.

    Its length is always `resampled_length`.

    Raises:
        UsageError: if the signal has more than one dimension or a rate is not positive.
    """
    wave = np.asarray(wave, dtype=np.float32)
    if wave.ndim != 1:
        raise UsageError(f"only mono signals of shape (S,) are resampled, not {wave.shape}; call to_mono first")
    if from_rate <= 0 or to_rate <= 0:
        raise UsageError(f"sample rates must be positive, not {from_rate} and {to_rate} Hz")
    if from_rate == to_rate or not len(wave):
        return wave
    soxr, length = require_soxr(), resampled_length(len(wave), from_rate, to_rate)
    resampled: np.ndarray = soxr.resample(wave, from_rate, to_rate, quality="HQ")
    if len(resampled) < length:  # where half a sample is left over, soxr mostly rounds it down
        resampled = soxr.resample(np.append(wave, silence_after(from_rate, to_rate)), from_rate, to_rate, quality="HQ")
    return resampled[:length]


def to_mono(wave: Any) -> np.ndarray:
    """An array given by a user as mono float32 (S,): the mean of its channels.

    Args:
        wave: (S,), (S, C) or (C, S), anything NumPy can read; of two axes the shorter one is the
            channels. Integers are scaled by their full range, as in a file; floats are kept as they are.

    Raises:
        UsageError: for another shape, or a type that is neither float nor an integer of 8 to 32 bits.
    """
    wave = np.asarray(wave)
    if wave.ndim not in (1, 2):
        raise UsageError(f"audio must have the shape (S,), (S, C) or (C, S), not {wave.shape}")
    if wave.ndim == 2 and wave.shape[0] < wave.shape[1]:
        wave = wave.T
    if wave.dtype.kind in "iu" and wave.dtype.itemsize <= 4:
        full_scale = 2.0 ** (8 * wave.dtype.itemsize - 1)
        wave = wave.astype(np.float64) / full_scale - (wave.dtype.kind == "u")
    elif wave.dtype.kind != "f":
        raise UsageError(f"audio must be float or an integer of 8 to 32 bits, not {wave.dtype}")
    return mean_of_channels(wave) if wave.ndim == 2 else wave.astype(np.float32)


def silence_after(from_rate: int, to_rate: int) -> np.ndarray:
    """What to resample after the end of a signal to get one more sample out of it: zeros at `from_rate`."""
    return np.zeros(-(-from_rate // to_rate) + 1, np.float32)


def resampled_length(samples: int, from_rate: int, to_rate: int) -> int:
    """How many samples a signal has at another rate: rounded, halves up."""
    return (2 * samples * to_rate + from_rate) // (2 * from_rate)


def mean_of_channels(wave: np.ndarray) -> np.ndarray:
    # (S, C) -> (S,). Column by column: NumPy's mean over a short last axis is ten times slower.
    channels = wave.shape[1]
    total = wave[:, 0].astype(np.float32)
    for channel in range(1, channels):
        total += wave[:, channel]
    if channels > 1:
        total *= np.float32(1 / channels)
    return total


def clip(wave: np.ndarray) -> np.ndarray:
    return np.clip(wave, -1, 1, out=wave)


def to_int16(wave: np.ndarray) -> np.ndarray:
    """Float samples in [-1, 1] to int16, rounded to the nearest of 65,535 steps; louder is clipped."""
    scaled = wave * np.float32(32767)
    np.rint(scaled, out=scaled)
    return np.clip(scaled, -32767, 32767, out=scaled).astype(np.int16)
