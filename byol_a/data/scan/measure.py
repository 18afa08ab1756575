"""What a scan says of one audio file: what it holds, how loud and how silent it is, and a digest of its sound."""

from __future__ import annotations

import hashlib
import math
import os
from typing import NamedTuple

import numpy as np

from byol_a.data.io import open_audio
from byol_a.errors import AudioError

_VALUES_AT_ONCE = 1 << 20  # samples of all channels together that are decoded in one go


class Measurement(NamedTuple):
    """The measured columns of an index (see `byol_a.data.index.SCHEMA`): either all but `error`, or `error` alone."""

    format: str | None = None
    subtype: str | None = None
    sample_rate: int | None = None
    channels: int | None = None
    frames: int | None = None
    duration: float | None = None
    peak: float | None = None
    rms: float | None = None
    silence: float | None = None
    digest: bytes | None = None
    error: str | None = None


def measure(path: str | os.PathLike[str], section: tuple[int, int] | None = None) -> Measurement:
    """Decode a whole file, in bounded memory (but for an MP3 in an archive, which is copied), and measure it.

    Peak, RMS, silence and digest are of the mean of the channels at the file's own rate, before clipping. The digest
    is 16 bytes of BLAKE2b over the float32 samples and the rate: the same sound in another lossless container has
    the same digest.

    Args:
        path: the file.
        section: (offset, size) in bytes, of a member of the archive `path`.

    Returns:
        The measurement; of a file that cannot be used only `error`, the reason as `AudioError` has it.
    """
    try:
        return _measure(path, section)
    except AudioError as error:
        return Measurement(error=error.reason)
    except MemoryError:
        return Measurement(error="unreadable: not enough memory")


def _measure(path: str | os.PathLike[str], section: tuple[int, int] | None) -> Measurement:
    digest = hashlib.blake2b(digest_size=16)
    peak, energy, zeros = 0.0, 0.0, 0
    with open_audio(path, section=section) as audio:
        info = audio.info
        for block in audio.native_blocks(max(1, _VALUES_AT_ONCE // info.channels)):
            block += np.float32(0)  # -0, which only float files can hold, becomes 0
            digest.update(block.astype("<f4", copy=False).data)
            peak = max(peak, float(block.max()), -float(block.min()))
            energy += float(np.square(block, dtype=np.float64).sum())
            zeros += len(block) - int(np.count_nonzero(block))
    digest.update(info.sample_rate.to_bytes(8, "little"))
    return Measurement(
        format=info.format,
        subtype=info.subtype,
        sample_rate=info.sample_rate,
        channels=info.channels,
        frames=info.frames,
        duration=info.duration,
        peak=peak,
        rms=math.sqrt(energy / info.frames),
        silence=zeros / info.frames,
        digest=digest.digest(),
    )
