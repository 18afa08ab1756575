"""The audio of a clip, read and cut: whole, its first unit, or a random one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from byol_a.data.clips import crop_start
from byol_a.data.crops import draw
from byol_a.data.io import AudioFile, open_audio
from byol_a.errors import AudioError
from byol_a.inputs import LongFile, is_long
from downstream.features.base import Piece
from downstream.features.request import EmbeddingRequest
from downstream.tasks.base import Clip


def read_clip(clip: Clip, sample_rate: int) -> np.ndarray:
    """All of a clip as mono float32 (S,) in [-1, 1] at `sample_rate` Hz.

    Raises:
        AudioError: if the file cannot be used, or the clip's section begins after its end.
    """
    with open_audio(clip.path) as audio:
        if clip.section is None:
            return audio.whole(sample_rate)
        start, length = _extent(clip, audio, sample_rate)
        return audio.segment(start, length, sample_rate)


def cut(wave: np.ndarray, request: EmbeddingRequest, index: int, sample_rate: int) -> np.ndarray:
    """What a request takes of a clip's wave (S,).

    Args:
        index: of the clip in its task; with the request's seed it places a random cut.

    Returns:
        (S,) for whole clips; else (S',), the unit's samples, with zeros at the end where the clip is shorter.
    """
    if request.cut == "whole":
        return wave
    start, length = _window(request, index, len(wave), sample_rate)
    return _padded(wave[start : start + length], length)


def read_piece(piece: Piece, request: EmbeddingRequest, sample_rate: int) -> np.ndarray | LongFile | AudioError:
    """`cut(read_clip(clip), ...)` within 1e-5, decoding little more than is taken; an error instead of raising it.

    A whole file that is too long to be held comes as `LongFile`, to be streamed.
    """
    clip = piece.clip
    try:
        with open_audio(clip.path) as audio:
            start, available = _extent(clip, audio, sample_rate)
            if request.cut == "whole":
                if clip.section is not None:
                    return audio.segment(start, available, sample_rate)
                if is_long(available, sample_rate):
                    return LongFile(Path(clip.path), available)
                return audio.whole(sample_rate)
            place, length = _window(request, piece.index, available, sample_rate)
            if clip.section is None and available <= length:
                return _padded(audio.whole(sample_rate), length)
            wave = audio.segment(start + place, min(length, available - place), sample_rate)
            return _padded(wave, length)
    except AudioError as error:
        return error


def _extent(clip: Clip, audio: AudioFile, sample_rate: int) -> tuple[int, int]:
    """Where a clip begins in its file and how long it is, in samples."""
    total = audio.samples_at(sample_rate)
    if clip.section is None:
        return 0, total
    begin, end = (round(seconds * sample_rate) for seconds in clip.section)
    if not 0 <= begin < min(end, total):
        raise AudioError(clip.path, f"truncated: no samples from {clip.section[0]:g} to {clip.section[1]:g} s")
    return begin, min(end, total) - begin


def _window(request: EmbeddingRequest, index: int, samples: int, sample_rate: int) -> tuple[int, int]:
    """Where the unit begins within a clip of `samples` samples, and its length."""
    assert request.unit_seconds is not None
    length = max(1, round(request.unit_seconds * sample_rate))
    if request.cut == "first":
        return 0, length
    position, _ = draw(request.seed, 0, index, 0)
    return crop_start(position, samples - length), length


def _padded(wave: np.ndarray, length: int) -> np.ndarray:
    return np.pad(wave, (0, length - len(wave))) if len(wave) < length else wave
