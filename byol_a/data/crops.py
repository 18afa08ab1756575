"""Random crops of audio files as a map-style dataset: what a data worker does, and no more than that."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from byol_a.data.io import AudioFile, open_audio, samples_at
from byol_a.errors import AudioError, ByolaError, UsageError

ATTEMPTS = 20
"""Files drawn at random for one crop before the others are tried one after the other."""


class Crop(NamedTuple):
    """One training clip and the files that had to be passed over to get it."""

    wave: Tensor  # (S,) int16
    problems: list[tuple[str, str]]  # (path, reason)


def to_int16(wave: np.ndarray) -> np.ndarray:
    """Float samples in [-1, 1] to int16, rounded to the nearest of 65,535 steps; louder is clipped."""
    scaled = wave * np.float32(32767)
    np.rint(scaled, out=scaled)
    return np.clip(scaled, -32767, 32767, out=scaled).astype(np.int16)


def from_int16(wave: Tensor) -> Tensor:
    """The inverse of `to_int16`, as float32 in [-1, 1], on the tensor's own device."""
    return wave.to(torch.float32) / 32767


def draw(seed: int, epoch: int, index: int, attempt: int) -> tuple[int, int]:
    """Two independent uniform 64-bit integers, a function of the arguments only.

    A hash is used rather than a seeded generator: seeding one costs more than reading a short crop.
    """
    digest = blake2b(f"{seed},{epoch},{index},{attempt}".encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


class RandomCrops(torch.utils.data.Dataset[Crop]):
    """One random crop per (epoch, index): the index names the file, both name the position in it.

    The crop depends on (seed, epoch, index) and the files alone, never on workers, ranks or resumption.
    A file that cannot be used is replaced by another one drawn the same way, and named in `problems`; where
    none of the first `ATTEMPTS` can be used, the files that follow the last one are tried in order [choice].
    A file found to be no good as a whole is not opened again, which makes no difference to the crops.
    Only the samples of the crop are decoded where the format allows it.

    Args:
        files: audio files; the length of the dataset is their number.
        crop_samples: S, samples of a crop at `sample_rate`.
        sample_rate: in Hz; files at other rates are resampled.
        seed: of all crops.
        pad: where zeros go when a file is shorter than a crop: `"end"` (BYOL-A v2), or `"both"`,
            half of them on either side (BYOL-A v1).

    Raises:
        UsageError: without files, or for a crop or a rate below 1, or an unknown `pad`.
    """

    def __init__(
        self,
        files: Sequence[str | os.PathLike[str]],
        crop_samples: int,
        sample_rate: int,
        seed: int,
        pad: Literal["both", "end"] = "end",
    ) -> None:
        if not files:
            raise UsageError("there is no audio file to crop; give at least one")
        if crop_samples < 1 or sample_rate < 1:
            raise UsageError(f"a crop of {crop_samples} samples at {sample_rate} Hz is not possible; both must be >= 1")
        if pad not in ("both", "end"):
            raise UsageError(f"unknown pad {pad!r}; choose 'both' or 'end'")
        self.crop_samples, self.sample_rate, self.seed, self.pad = crop_samples, sample_rate, seed, pad
        # One buffer rather than a list of millions of strings: touching an object's reference count in
        # a forked worker copies its page, so that a list would end up once in every worker's memory.
        names = [os.fsencode(path) for path in files]
        self._names = b"".join(names)
        self._ends = np.cumsum([len(name) for name in names])
        self._unusable: dict[int, str] = {}  # reasons, of files that cannot be used whatever the position

    def __len__(self) -> int:
        return len(self._ends)

    def file(self, index: int) -> str:
        """The path of file `index`."""
        begin = 0 if index == 0 else int(self._ends[index - 1])
        return os.fsdecode(self._names[begin : int(self._ends[index])])

    def __getitem__(self, key: tuple[int, int]) -> Crop:
        """The crop of file `index` in `epoch`, for a key (epoch, index).

        Raises:
            ByolaError: if none of all the files can be used.
        """
        epoch, index = key
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} files")
        problems: dict[str, str] = {}
        path = reason = ""
        for candidate, position in self._candidates(epoch, index):
            path = self.file(candidate)
            try:
                wave = self._crop(candidate, position)
            except AudioError as error:
                reason = error.reason
                problems.setdefault(path, reason)
                continue
            return Crop(torch.from_numpy(to_int16(wave)), list(problems.items()))
        raise ByolaError(
            f"none of the {len(self)} files can be used, the last tried being {path} ({reason}); "
            f"check that the data are readable audio"
        )

    def _candidates(self, epoch: int, index: int) -> Iterator[tuple[int, int]]:
        """The files to try for a crop, and the position to take in each: all files, sooner or later."""
        candidate = index
        for attempt in range(ATTEMPTS):
            position, substitute = draw(self.seed, epoch, index, attempt)
            candidate = index if attempt == 0 else substitute * len(self) >> 64
            yield candidate, position
        for step in range(1, len(self)):
            position, _ = draw(self.seed, epoch, index, ATTEMPTS - 1 + step)
            yield (candidate + step) % len(self), position

    def _crop(self, index: int, position: int) -> np.ndarray:
        with self._open(index) as audio:
            spare = samples_at(audio.info, self.sample_rate) - self.crop_samples
            start = position * (spare + 1) >> 64 if spare > 0 else 0
            wave = audio.segment(start, self.crop_samples, self.sample_rate)
        missing = self.crop_samples - len(wave)
        if missing:
            before = missing // 2 if self.pad == "both" else 0
            wave = np.pad(wave, (before, missing - before))
        return wave

    def _open(self, index: int) -> AudioFile:
        path = self.file(index)
        if index in self._unusable:
            raise AudioError(path, self._unusable[index])
        try:
            return open_audio(path)
        except AudioError as error:
            # Only this is remembered: damage met while decoding may lie outside another crop of the same
            # file, and what is unreadable now may be readable again, as on a network drive.
            if not error.reason.startswith("unreadable"):
                self._unusable[index] = error.reason
            raise


def collate_crops(crops: list[Crop]) -> tuple[Tensor, list[tuple[str, str]]]:
    """Crops to a batch: int16 (B, S), and the problems of all of them."""
    waves = torch.stack([crop.wave for crop in crops])
    return waves, [problem for crop in crops for problem in crop.problems]
