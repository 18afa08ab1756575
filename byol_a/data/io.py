"""The one reader of audio files: any format, rate and channel count to mono float32 at the wanted rate."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from byol_a.data.arrays import clip, require_soxr, resample, resampled_length, silence_after, to_mono
from byol_a.data.audio_file import AudioFile, AudioInfo
from byol_a.data.formats import AUDIO_EXTENSIONS

__all__ = [
    "AUDIO_EXTENSIONS",
    "AudioFile",
    "AudioInfo",
    "audio_info",
    "open_audio",
    "read_audio",
    "read_segment",
    "resample",
    "samples_at",
    "stream_audio",
    "to_mono",
    "unclipped_blocks",
]


def open_audio(
    path: str | os.PathLike[str],
    info: AudioInfo | None = None,
    section: tuple[int, int] | None = None,
    member: str | None = None,
) -> AudioFile:
    """Open an audio file, for use in a `with` statement.

    Args:
        path: the file.
        info: what `audio_info` said of it before, which spares counting the samples of a stream that
            does not know its length.
        section: (offset, size) in bytes of an audio file within `path`, as a member of a tar archive is.
        member: the name that the tar archive must have for this section; anything will do if None.

    Raises:
        AudioError: if the file cannot be used; its reason begins with `empty`, `truncated`, `not audio`,
            `unsupported`, `unreadable`, `changed` or `contains`. Decoding may raise it too.
    """
    return AudioFile(path, info, section, member)


def audio_info(path: str | os.PathLike[str]) -> AudioInfo:
    """What the file holds, from its header.

    Raises:
        AudioError: if the file cannot be used, as far as can be told without decoding it.
    """
    with open_audio(path) as audio:
        return audio.info


def samples_at(info: AudioInfo, sample_rate: int) -> int:
    """How many samples `read_audio` gives at `sample_rate`: the duration rounded, halves up."""
    return resampled_length(info.frames, info.sample_rate, sample_rate)


def read_audio(path: str | os.PathLike[str], sample_rate: int | None = 16000) -> np.ndarray:
    """A whole file as mono float32 (S,) in [-1, 1] at `sample_rate` Hz, or at its own rate if None.

    Channels are averaged; louder than full scale is clipped.

    Raises:
        AudioError: if the file cannot be used.
    """
    with open_audio(path) as audio:
        return audio.whole(sample_rate)


def read_segment(
    path: str | os.PathLike[str],
    start: int,
    length: int,
    sample_rate: int = 16000,
    info: AudioInfo | None = None,
) -> np.ndarray:
    """`read_audio(path, sample_rate)[start : start + length]` within 1e-5, without decoding the rest.

    Args:
        path: the file.
        start, length: in samples at `sample_rate`.
        sample_rate: in Hz.
        info: what `audio_info` said of the file, if known.

    Returns:
        float32 (S,), S <= length where the file ends before.

    Raises:
        AudioError: if the file cannot be used; damage outside the segment may go unnoticed.
        UsageError: for a negative start or length.
    """
    with open_audio(path, info) as audio:
        return audio.segment(start, length, sample_rate)


def stream_audio(
    path: str | os.PathLike[str], sample_rate: int = 16000, block_seconds: float = 30.0
) -> Iterator[np.ndarray]:
    """`read_audio(path, sample_rate)` in consecutive blocks of about `block_seconds`, in bounded memory.

    Raises:
        AudioError: if the file cannot be used; perhaps only after blocks that could be decoded.
    """
    with open_audio(path) as audio:
        yield from map(clip, unclipped_blocks(audio, sample_rate, block_seconds))


def unclipped_blocks(audio: AudioFile, sample_rate: int, block_seconds: float) -> Iterator[np.ndarray]:
    """All of an open file at `sample_rate`, in blocks that may reach beyond [-1, 1]; see `stream_audio`."""
    rate = audio.info.sample_rate
    blocks = audio.native_blocks(max(1, round(block_seconds * rate)))
    if rate == sample_rate:
        yield from blocks
        return
    stream = require_soxr().ResampleStream(rate, sample_rate, 1, dtype="float32", quality="HQ")
    left = audio.samples_at(sample_rate)
    for block in blocks:
        wave = stream.resample_chunk(block)[:left]
        left -= len(wave)
        if len(wave):
            yield wave
    # Silence after the end, for soxr sometimes gives one sample less than `resample` does.
    wave = stream.resample_chunk(silence_after(rate, sample_rate), last=True)[:left]
    if len(wave):
        yield wave
