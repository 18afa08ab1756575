"""Short pieces of audio to listen to in the report, as many as its size allows."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from byol_a.errors import AudioError
from downstream.report.markup import encoded
from downstream.tasks.base import Clip

EXCERPT_SECONDS = 8.0
SAMPLE_RATE = 16000
_LEAST_PEAK = 1e-4  # silence is left as it is


class ClipName(NamedTuple):
    """A file, or a section of one in seconds."""

    path: str
    section: tuple[float, float] | None


class Excerpts:
    """Audio by clip, as data addresses, until `budget` characters are spent.

    `places[clip]` is the clip's number in `addresses`; `unreachable` counts clips whose file could not be read.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.addresses: list[str] = []
        self.places: dict[ClipName, int] = {}
        self.unreachable: set[ClipName] = set()
        self.spent = 0

    def add(self, clips: Iterable[ClipName]) -> None:
        """Take clips in the order of their worth; those that do not fit are left out."""
        for clip in clips:
            if clip in self.places or clip in self.unreachable:
                continue
            if self.spent >= self.budget:
                return
            address = excerpt(clip)
            if address is None:
                self.unreachable.add(clip)
            elif self.spent + len(address) <= self.budget:
                self.places[clip] = len(self.addresses)
                self.addresses.append(address)
                self.spent += len(address)


def excerpt(clip: ClipName) -> str | None:
    """A clip's first 8 seconds at most as a `data:` address of mono 16 kHz MP3; None if it cannot be read.

    It is made as loud as it can be, which a listener wants and a model's normalisation allows for. WAV where
    libsndfile writes no MP3.
    """
    from downstream.features.cuts import read_clip

    begin, end = clip.section or (0.0, np.inf)
    part = Clip(Path(clip.path), (), "test", section=(begin, min(end, begin + EXCERPT_SECONDS)))
    try:
        wave = read_clip(part, SAMPLE_RATE)
    except (AudioError, OSError):
        return None
    peak = float(np.abs(wave).max(initial=0.0))
    if peak > _LEAST_PEAK:
        wave = 0.9 / peak * wave
    return _as_address(wave)


def _as_address(wave: np.ndarray) -> str:
    import soundfile

    stream = io.BytesIO()
    if "MP3" in soundfile.available_formats():
        soundfile.write(stream, wave, SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III")
        return f"data:audio/mpeg;base64,{encoded(stream.getvalue())}"
    soundfile.write(stream, wave, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return f"data:audio/wav;base64,{encoded(stream.getvalue())}"
