"""Random crops of clips as a map-style dataset: what a data worker does, and no more than that."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from byol_a.data.arrays import to_int16
from byol_a.data.clips import Clips, open_files
from byol_a.errors import AudioError, ByolaError, UsageError

__all__ = ["ATTEMPTS", "Crop", "Key", "Problems", "RandomCrops", "draw", "from_int16", "to_int16"]

ATTEMPTS = 20
"""Clips drawn at random for one crop before others are tried in order."""

LAST_ATTEMPTS = 1000
"""How many others: all of a small set, and of a large one some from everywhere; then its drive is gone."""

Key: TypeAlias = "tuple[int, int] | tuple[int, int, int]"
"""(epoch, index), and which crop of the clip in this epoch it is, counted from 0, where it is drawn several times."""

Problems: TypeAlias = "list[tuple[str, str]]"
"""(path, reason) of the files that had to be passed over."""


class Crop(NamedTuple):
    """One training clip and the files that had to be passed over to get it."""

    wave: Tensor  # (S,) int16
    problems: Problems


def from_int16(wave: Tensor) -> Tensor:
    """The inverse of `to_int16`, as float32 in [-1, 1], on the tensor's own device."""
    return wave.to(torch.float32) / 32767


def draw(seed: int, epoch: int, index: int, attempt: int, repeat: int = 0) -> tuple[int, int]:
    """Two independent uniform 64-bit integers, a function of the arguments only.

    A hash is used rather than a seeded generator: seeding one costs more than reading a short crop.
    """
    key = f"{seed},{epoch},{index},{attempt},{repeat}" if repeat else f"{seed},{epoch},{index},{attempt}"
    digest = blake2b(key.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


class _Wanted(NamedTuple):
    epoch: int
    row: int
    repeat: int = 0


class RandomCrops(torch.utils.data.Dataset[Crop]):
    """One random crop per key (epoch, index): the index names the clip, both name the position in it.

    The crop depends on (seed, epoch, index) and the clips alone, never on workers, ranks or resumption, nor on
    whether they are read from files or from a store packed from them. A clip drawn several times in an epoch has keys
    (epoch, index, repeat), and a crop of its own for each.

    A clip that cannot be used is replaced by another one drawn the same way, and named in `problems`; where
    none of the first `ATTEMPTS` can be used, `LAST_ATTEMPTS` from the rest of the list are tried in order [choice].

    Args:
        clips: where they come from, or a list of audio files; the length of the dataset is their number.
        crop_samples: S, samples of a crop at `sample_rate`.
        sample_rate: in Hz, for a list of files, which are resampled where they have another; otherwise the clips'.
        seed: of all crops.
        pad: where zeros go when a clip is shorter than a crop: `"end"` (BYOL-A v2), or `"both"`,
            half of them on either side (BYOL-A v1).

    Raises:
        UsageError: without clips, for a crop or a rate below 1, a rate that is not the clips', or an unknown `pad`.
    """

    def __init__(
        self,
        clips: Clips | Sequence[str | os.PathLike[str]],
        crop_samples: int,
        sample_rate: int,
        seed: int,
        pad: Literal["both", "end"] = "end",
    ) -> None:
        if crop_samples < 1 or sample_rate < 1:
            raise UsageError(f"a crop of {crop_samples} samples at {sample_rate} Hz is not possible; both must be >= 1")
        if pad not in ("both", "end"):
            raise UsageError(f"unknown pad {pad!r}; choose 'both' or 'end'")
        self.clips = open_files(clips, sample_rate) if isinstance(clips, Sequence) else clips
        if self.clips.sample_rate != sample_rate:
            raise UsageError(
                f"the clips come at {self.clips.sample_rate} Hz, and {sample_rate} Hz are asked for; "
                "pack them at that rate, or read the files themselves"
            )
        self.crop_samples, self.sample_rate, self.seed, self.pad = crop_samples, sample_rate, seed, pad

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: Key) -> Crop:
        """The crop of a key.

        Raises:
            ByolaError: if no clip can be used.
        """
        waves, problems = self.batch([key])
        return Crop(waves[0], problems)

    def batch(self, keys: Sequence[Key], out: Tensor | None = None) -> tuple[Tensor, Problems]:
        """The crops of several keys: int16 (B, S), and what had to be passed over to get them.

        Args:
            keys: of the crops.
            out: int16 (B, S), where to write them; fresh memory if None.

        Raises:
            ByolaError: if no clip can be used.
        """
        if out is None:
            out = torch.empty(len(keys), self.crop_samples, dtype=torch.int16)
        wanted = []
        for epoch, index, *repeat in keys:
            if not 0 <= index < len(self):
                raise IndexError(f"index {index} is out of range for {len(self)} clips")
            crop = _Wanted(epoch, index, *repeat)
            position, _ = draw(self.seed, epoch, index, 0, crop.repeat)
            # All of a batch is announced before any of it is read, so that a disk can work on all of it at once.
            self.clips.will_read(index, position, self.crop_samples)
            wanted.append((crop, position))
        problems: dict[str, str] = {}
        for wave, (crop, position) in zip(out.numpy(), wanted, strict=True):
            samples = self._read(crop, position, problems)
            missing = self.crop_samples - len(samples)
            before = missing // 2 if self.pad == "both" else 0
            if missing:
                wave.fill(0)
            wave[before : before + len(samples)] = samples
        return out, list(problems.items())

    def _read(self, crop: _Wanted, position: int, problems: dict[str, str]) -> np.ndarray:
        """The crop of the first clip, of those to try, that can be used."""
        for candidate, place in itertools.chain([(crop.row, position)], self._substitutes(crop)):
            try:
                return self.clips.read(candidate, place, self.crop_samples)
            except AudioError as error:
                problems.setdefault(error.path, error.reason)
                last = error
        tried = f"{len(self)} files" if len(self) <= LAST_ATTEMPTS else f"files tried, of {len(self)},"
        raise ByolaError(
            f"none of the {tried} can be used, the last tried being {last.path} ({last.reason}); "
            f"check that the data are readable audio"
        )

    def _substitutes(self, crop: _Wanted) -> Iterator[tuple[int, int]]:
        """The clips to try in place of one that cannot be used, and the position in each: all of up to a thousand."""
        epoch, row, repeat = crop
        candidate = row
        for attempt in range(1, ATTEMPTS):
            position, substitute = draw(self.seed, epoch, row, attempt, repeat)
            candidate = substitute * len(self) >> 64
            yield candidate, position
        stride = max(1, len(self) // LAST_ATTEMPTS)
        for step in range(1, min(len(self), LAST_ATTEMPTS)):
            position, _ = draw(self.seed, epoch, row, ATTEMPTS - 1 + step, repeat)
            yield (candidate + step * stride) % len(self), position
