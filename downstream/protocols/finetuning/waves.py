"""The audio that networks are trained on: decoded once where it fits, cut into units of one length."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from byol_a.data.arrays import to_int16
from byol_a.data.clips import crop_start
from byol_a.data.crops import draw
from byol_a.data.report import FileReport
from byol_a.errors import AudioError, ByolaError
from byol_a.inputs import read_ahead

TYPICAL_CLIPS, TYPICAL_QUANTILE = 500, 0.9
LONGEST_UNIT_SECONDS = 10.0


class ClipWaves:
    """Clips as int16 waves at one rate, decoded when first asked for and kept in memory while there is room.

    What finds no room is decoded again every time, ahead of its use; the samples are the same either way.

    Args:
        wave_of: gives the clip of an index as float32 (S,) in [-1, 1] at the rate; may raise `AudioError`.
        sample_rate: in Hz.
        most_bytes: how much is kept; an hour at 16 kHz is 115 MB.

    Attributes:
        problems: the clips that could not be used so far.
    """

    def __init__(self, wave_of: Callable[[int], np.ndarray], sample_rate: int, most_bytes: float) -> None:
        self.sample_rate, self.problems = sample_rate, FileReport()
        self._wave_of = wave_of
        self._kept: dict[int, np.ndarray] = {}
        self._room = most_bytes
        self._unusable: dict[int, AudioError] = {}
        self._lock = threading.Lock()

    def read(self, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        """`(index, wave (S,) int16)` of the clips that can be used, in order; threads decode the next ones."""
        for index, wave in read_ahead(self._load, indices):
            if isinstance(wave, np.ndarray):
                yield index, wave

    def usable(self, indices: Iterable[int]) -> list[int]:
        """The clips that did not turn out to be unusable so far."""
        return [index for index in indices if index not in self._unusable]

    def too_few(self, indices: Sequence[int], purpose: str) -> ByolaError:
        """The error that says that too many of some clips cannot be used, and why the first of them."""
        usable = len(self.usable(indices))
        first = next((self._unusable[index] for index in indices if index in self._unusable), None)
        reason = "" if first is None else f"; the first of the others: {first}"
        return ByolaError(f"only {usable} of the {len(indices)} clips {purpose} can be used, which is too few{reason}")

    def typical_samples(self, indices: Sequence[int]) -> int:
        """A length that nine clips in ten do not exceed, at most 10 s: the unit where a set has none.

        Told by at most 500 of the clips, evenly spread.

        Raises:
            ByolaError: if none of them can be used.
        """
        places = np.linspace(0, len(indices) - 1, min(TYPICAL_CLIPS, len(indices))).round().astype(int)
        chosen = [indices[place] for place in places]
        lengths = [len(wave) for _, wave in self.read(chosen)]
        if not lengths:
            raise self.too_few(chosen, "to train on")
        typical = float(np.quantile(lengths, TYPICAL_QUANTILE))
        return round(min(typical, LONGEST_UNIT_SECONDS * self.sample_rate))

    def _load(self, index: int) -> np.ndarray | AudioError:
        if index in self._kept:
            return self._kept[index]
        if index in self._unusable:
            return self._unusable[index]
        try:
            wave = to_int16(self._wave_of(index))
        except AudioError as error:
            self._unusable[index] = error
            self.problems.add(error.path, error.reason)
            return error
        with self._lock:
            if index not in self._kept and wave.nbytes <= self._room:
                self._kept[index] = wave
                self._room -= wave.nbytes
        return wave


def random_unit(wave: np.ndarray, samples: int, seed: int, epoch: int, index: int) -> np.ndarray:
    """A window (samples,) of a wave (S,), its place a function of the numbers; zeros follow a shorter wave."""
    position, _ = draw(seed, epoch, index, 0)
    start = crop_start(position, len(wave) - samples)
    return _padded(wave[start : start + samples], samples)


def units(wave: np.ndarray, samples: int, whole: bool) -> list[np.ndarray]:
    """The windows (samples,) that a wave (S,) is tested by: the first, or as many as cover the whole.

    Consecutive ones, the last of which ends where the wave ends and so may overlap the one before. A shorter
    wave has zeros at its end.
    """
    last = max(0, len(wave) - samples) if whole else 0
    starts = [*range(0, last, samples), last]
    return [_padded(wave[start : start + samples], samples) for start in starts]


def _padded(wave: np.ndarray, samples: int) -> np.ndarray:
    return np.pad(wave, (0, samples - len(wave))) if len(wave) < samples else wave
