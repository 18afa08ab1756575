"""The shards of a packed store as one long sequence of samples, read through memory maps."""

from __future__ import annotations

import mmap
import stat
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from byol_a.errors import ByolaError, UsageError

SAMPLE = np.dtype("<i2")
# Descriptors left to the rest of the process, where there are more shards than it may have files open.
_SPARE_DESCRIPTORS = 512
_LONGEST_HEADER = 4096  # bytes; NumPy writes 128
_WILL_NEED: int | None = getattr(mmap, "MADV_WILLNEED", None)


class ShardError(ByolaError):
    """A shard cannot be used. `reason` is short enough for a report's column."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the shard {path} is {reason}; `byol-a pack {path.parent.parent} --verify` checks them all")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type[ShardError], tuple[Path, str]]:
        return ShardError, (self.path, self.reason)


class Tape:
    """Mono int16 samples, cut into shards that are standard `.npy` files.

    A shard is mapped when a process first reads from it. Tapes can be pickled, and read after a fork.

    Args:
        folder: where the shards are.
        shard_samples: length of each.
    """

    def __init__(self, folder: Path, shard_samples: Sequence[int]) -> None:
        self.folder = folder
        # A list: bisect needs plain integers to be fast, and there are some thousands at most.
        self.bounds = [0, *accumulate(shard_samples)]
        self._forget_maps()

    def _forget_maps(self) -> None:
        self._maps: list[np.ndarray | None] = [None] * (len(self.bounds) - 1)
        self._mapped: deque[int] = deque()  # shards, the one mapped first in front
        self._most_maps = 0

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "bounds": self.bounds}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_maps()

    def __len__(self) -> int:
        """Samples in all."""
        return self.bounds[-1]

    def read(self, start: int, length: int) -> np.ndarray:
        """Samples `start` to `start + length`: int16 (S,), read-only; a view of the map where they lie in one shard.

        Raises:
            UsageError: if they are not all on the tape.
            ShardError: if a shard is damaged.
        """
        stop = start + length
        if not 0 <= start < stop <= self.bounds[-1]:
            return self._nothing(start, length)
        shard = bisect_right(self.bounds, start) - 1
        first = self.bounds[shard]
        if stop > self.bounds[shard + 1]:
            return self._read_over(start, stop, shard)
        samples = self._maps[shard]
        if samples is None:
            samples = self._map(shard)
        return samples[start - first : stop - first]

    def will_read(self, start: int, length: int) -> None:
        """Announce a `read`: the system fetches just these samples from the disk.

        Left to itself it would read ahead in each of the places of a batch, megabytes for every crop, and one place
        after the other. Raises as `read` does.
        """
        if not 0 <= start < start + length <= self.bounds[-1]:
            self._nothing(start, length)
            return
        while length > 0:
            shard = bisect_right(self.bounds, start) - 1
            samples = self._maps[shard]
            if samples is None:
                samples = self._map(shard)
            count = min(length, self.bounds[shard + 1] - start)
            if _WILL_NEED is not None:
                memory_map: Any = samples.base
                # A map begins at a whole page: at the file's first, unless the header is as long as that.
                header = memory_map.offset % mmap.ALLOCATIONGRANULARITY
                first = header + (start - self.bounds[shard]) * SAMPLE.itemsize
                aligned = first - first % mmap.PAGESIZE
                with suppress(OSError):  # it is advice: `read` will say what is wrong
                    memory_map.base.madvise(_WILL_NEED, aligned, first - aligned + count * SAMPLE.itemsize)
            start, length = start + count, length - count

    def _nothing(self, start: int, length: int) -> np.ndarray:
        if length == 0 and 0 <= start <= len(self):
            return np.zeros(0, SAMPLE)
        raise UsageError(f"{length} samples from {start} on are not all on a tape of {len(self)}")

    def _read_over(self, start: int, stop: int, shard: int) -> np.ndarray:
        """What lies in several shards, put together."""
        pieces = []
        while start < stop:
            until = min(stop, self.bounds[shard + 1])
            pieces.append(self.read(start, until - start))
            start, shard = until, shard + 1
        whole = np.concatenate(pieces)
        whole.flags.writeable = False
        return whole

    def _map(self, shard: int) -> np.ndarray:
        self._most_maps = self._most_maps or _allowed_maps(len(self._maps))
        if len(self._mapped) >= self._most_maps:
            self._maps[self._mapped.popleft()] = None
        samples = self.open_shard(shard)
        self._maps[shard] = samples
        self._mapped.append(shard)
        return samples

    def open_shard(self, shard: int) -> np.ndarray:
        """Memory-map a shard: int16 (S,).

        Raises:
            ShardError: if it is missing, or not an array of the type and length that it should be.
        """
        path, length = shard_path(self.folder, shard), self.bounds[shard + 1] - self.bounds[shard]
        size = _size_of_file(path)
        try:
            # The plain array below the map: slicing the subclass is several times slower.
            samples = np.asarray(np.lib.format.open_memmap(path, mode="r"))
        except OSError as error:
            raise ShardError(path, f"unreadable: {error.strerror or error}") from error
        except Exception as error:  # headers are Python literals: damage to one takes many forms
            raise ShardError(path, "damaged: not an .npy array of its full length") from error
        if samples.dtype != SAMPLE or samples.shape != (length,):
            raise ShardError(path, f"damaged: {samples.dtype} of shape {samples.shape}, not int16 of ({length},)")
        if size - samples.nbytes > _LONGEST_HEADER:
            raise ShardError(path, f"damaged: {size} bytes, which is more than its samples need")
        return samples


def shard_path(folder: Path, shard: int) -> Path:
    """The file of a shard: its name is made of its number alone, and of nothing that a file says."""
    return folder / f"{shard:05d}.npy"


def _size_of_file(path: Path) -> int:
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise ShardError(path, "missing") from error
    except OSError as error:
        raise ShardError(path, f"unreadable: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for somebody to write to it
        raise ShardError(path, "unreadable: not a file")
    return status.st_size


def _allowed_maps(wanted: int) -> int:
    """How many maps to keep at most: each holds a file descriptor, and usual limits are below a large store's need.

    The soft limit, which is there for programs that cannot deal with many, is raised as far as it may be.
    """
    try:
        import resource
    except ImportError:  # Windows
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    needed = wanted + _SPARE_DESCRIPTORS
    if soft != unlimited and soft < needed:
        higher = needed if hard == unlimited else min(needed, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (higher, hard))
            soft = higher
    return wanted if soft == unlimited else max(1, min(wanted, max(soft // 2, soft - _SPARE_DESCRIPTORS)))
