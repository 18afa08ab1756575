"""What goes where in a packed store: fixed before the first sample is written, from the index alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from byol_a.data.arrays import HIGHEST_RATE
from byol_a.data.index import AudioIndex
from byol_a.data.store.audio_store import LONGEST_TAPE
from byol_a.data.store.tape import SAMPLE
from byol_a.errors import ByolaError, UsageError

HEADER_BYTES = 128  # of an .npy file of one axis
_MOST_FRAMES = 1 << 38  # half a year at 16 kHz: twice a length times a rate stays within 64 bits

_MOST_SHARDS = 1_000_000


class Group(NamedTuple):
    """Consecutive shards that are written by one worker, because a clip runs over all of them; mostly one shard."""

    first_shard: int
    bounds: list[int]  # where on the tape the shards begin, and where the last of them ends
    rows: range  # the clips in them


@dataclass(frozen=True)
class Plan:
    """The places of all clips, one after another in the order of the index.

    A clip that does not fit into what is left of a shard begins the next one, so that shards are not quite full. One
    that is longer than a shard fills several, and what follows it goes on in its last.

    Attributes:
        index: the N clips to be packed.
        sample_rate: of the store, in Hz.
        starts, lengths: int64 (N,), samples at that rate.
        bounds: where on the tape each shard begins, and where the last one ends.
        groups: the shards, in the groups in which they are written.
    """

    index: AudioIndex
    sample_rate: int
    starts: np.ndarray
    lengths: np.ndarray
    bounds: list[int]
    groups: list[Group]

    @property
    def n_shards(self) -> int:
        """How many shards there will be."""
        return len(self.bounds) - 1

    def bytes_of(self, groups: Sequence[Group]) -> int:
        """What some groups of shards take up on disk."""
        samples = sum(group.bounds[-1] - group.bounds[0] for group in groups)
        return samples * SAMPLE.itemsize + sum(len(group.bounds) - 1 for group in groups) * HEADER_BYTES

    def fingerprint(self) -> str:
        """32 hexadecimal digits that differ where anything would be written differently."""
        digest = hashlib.blake2b(self.index.fingerprint().encode(), digest_size=16)
        for column in ("mtime_ns", "offset", "frames", "sample_rate"):
            digest.update(self.index.array(column).astype("<i8").tobytes())
        digest.update(np.array([self.sample_rate, *self.bounds], "<i8").tobytes())
        return digest.hexdigest()


def check_settings(sample_rate: int, shard_bytes: int) -> None:
    """Raise `UsageError` for settings that are not possible, whatever is packed."""
    if not 1 <= sample_rate <= HIGHEST_RATE:
        raise UsageError(f"a sample rate of {sample_rate} Hz is not possible; give one in 1 to {HIGHEST_RATE}")
    least = HEADER_BYTES + SAMPLE.itemsize
    if shard_bytes < least:
        raise UsageError(f"a shard of {shard_bytes} bytes has no room for samples; give at least {least}")


def make_plan(index: AudioIndex, sample_rate: int, shard_bytes: int) -> tuple[Plan, list[tuple[str, str]]]:
    """Lay out the clips of an index.

    Args:
        index: usable rows of a scanned index.
        sample_rate: in Hz.
        shard_bytes: the most that a shard may take up.

    Returns:
        The plan, and (name, reason) of clips that have no place in it.

    Raises:
        UsageError: for an index that was not made by a scan, or settings that are not possible.
        ByolaError: if no clip has a sample at this rate, or all are longer than any disk.
    """
    check_settings(sample_rate, shard_bytes)
    shard_samples = (shard_bytes - HEADER_BYTES) // SAMPLE.itemsize
    frames, rates = index.array("frames"), index.array("sample_rate").astype(np.int64)
    if not index.has_measurements:
        raise UsageError("the index does not say how long its files are; make it with `byol-a scan DIR --out INDEX`")
    possible = (frames >= 1) & (frames <= _MOST_FRAMES) & (rates >= 1) & (rates <= HIGHEST_RATE)
    frames, rates = np.where(possible, frames, 0), np.where(possible, rates, 1)
    lengths = (2 * frames * sample_rate + rates) // (2 * rates)  # as `resampled_length` rounds
    total = float(lengths.sum(dtype=np.float64))  # of any size
    if total > LONGEST_TAPE:
        raise ByolaError("the index says that its files are longer than any disk could hold; scan again")
    if total / shard_samples > _MOST_SHARDS:
        raise UsageError(
            f"{total / sample_rate / 3600:.0f} hours of sound would make more than {_MOST_SHARDS} shards of "
            f"{shard_bytes} bytes; let them be larger"
        )
    audible = lengths > 0
    rejected = [(index.name(row), _reason(index, row, sample_rate)) for row in np.flatnonzero(~audible).tolist()]
    if not audible.any():
        raise ByolaError(f"none of the {len(index)} clips can be packed; of {rejected[0][0]}: {rejected[0][1]}")
    if rejected:
        index, lengths = index.take(audible), lengths[audible]
    ends = np.cumsum(lengths)
    starts = ends - lengths
    groups = list(_groups(lengths, ends, shard_samples))
    bounds = [group.bounds[0] for group in groups[:1]] + [bound for group in groups for bound in group.bounds[1:]]
    return Plan(index, sample_rate, starts, lengths, bounds, groups), rejected


def _reason(index: AudioIndex, row: int, sample_rate: int) -> str:
    """Why a clip has no place on the tape."""
    frames, rate = (index.column(name)[row].as_py() for name in ("frames", "sample_rate"))
    if frames is None or rate is None:
        return "unsupported: the index does not say how long it is"
    if frames > _MOST_FRAMES or rate > HIGHEST_RATE:
        return f"unsupported: {frames} samples at {rate} Hz"
    return f"empty: not one sample at {sample_rate} Hz"


def _groups(lengths: np.ndarray, ends: np.ndarray, shard_samples: int) -> Iterator[Group]:
    row = shard = begin = 0
    while row < len(lengths):
        # Shards that the first clip fills from end to end, where it is longer than one.
        full = (int(lengths[row]) - 1) // shard_samples
        bounds = [begin + number * shard_samples for number in range(full + 1)]
        stop = int(np.searchsorted(ends, bounds[-1] + shard_samples, side="right"))
        begin = int(ends[stop - 1])
        yield Group(shard, [*bounds, begin], range(row, stop))
        row, shard = stop, shard + full + 1
