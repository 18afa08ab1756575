"""Checking a packed store against its checksums, down to the clips that are damaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from byol_a.arrow import arrow_file
from byol_a.data.store.audio_store import CHECKSUM, CLIPS, SHARDS, AudioStore
from byol_a.data.store.shards import clip_digest
from byol_a.data.store.tape import ShardError, shard_path
from byol_a.data.worker_pool import available_cores
from byol_a.errors import ByolaError
from byol_a.files import checksum
from byol_a.progress import Progress

_BLOCK_SAMPLES = 1 << 22
_THREADS = 4  # hashing leaves the interpreter to others; more than these no disk can feed


def find_damage(store: AudioStore, progress: bool = False) -> list[tuple[str, str]]:
    """See `AudioStore.verify`."""
    shards = store.description["shards"]
    files: list[tuple[str, str]] = []
    if (reason := _compare(store.folder / CLIPS, store.description["clips"]["checksum"])) is not None:
        files.append((CLIPS, reason))
    damaged = []
    with (
        ThreadPoolExecutor(min(_THREADS, available_cores())) as pool,
        Progress("checking", total=len(shards), unit="shard", enabled=progress) as shown,
    ):
        for number, reason in enumerate(pool.map(lambda shard: _look_at(store, shard), range(len(shards)))):
            if reason is not None:
                damaged.append(number)
                files.append((f"{SHARDS}/{shard_path(store.folder, number).name}", reason))
            shown.advance()
    return files + _damaged_clips(store, damaged)


def _look_at(store: AudioStore, shard: int) -> str | None:
    try:
        store.tape.open_shard(shard)
    except ShardError as error:
        return error.reason
    return _compare(shard_path(store.tape.folder, shard), store.description["shards"][shard]["checksum"])


def _compare(path: os.PathLike[str], expected: str) -> str | None:
    try:
        found = checksum(path)
    except OSError as error:
        return f"unreadable: {error.strerror}"
    return None if found == expected else "damaged: its checksum is another one"


def _damaged_clips(store: AudioStore, shards: list[int]) -> list[tuple[str, str]]:
    if not shards:
        return []
    expected = _clip_checksums(store)
    clips: dict[int, str] = {}
    for shard in shards:
        first, end = store.tape.bounds[shard : shard + 2]
        for row in np.flatnonzero((store.starts < end) & (store.starts + store.lengths > first)).tolist():
            digest = clip_digest()
            try:
                for block in _blocks(store, row):
                    digest.update(block.data)
            except ShardError as error:
                clips.setdefault(row, f"damaged: its shard {error.path.name} is {error.reason}")
                continue
            if digest.digest() != expected[row].as_py():
                clips.setdefault(row, f"damaged: its samples in the shard {shard:05d}.npy are not those packed")
    return [(store.index.name(row), reason) for row, reason in sorted(clips.items())]


def _blocks(store: AudioStore, row: int) -> Iterator[np.ndarray]:
    start, stop = int(store.starts[row]), int(store.starts[row] + store.lengths[row])
    for position in range(start, stop, _BLOCK_SAMPLES):
        yield store.read(position, min(_BLOCK_SAMPLES, stop - position))


def _clip_checksums(store: AudioStore) -> pa.ChunkedArray:
    path = store.folder / CLIPS
    try:
        with arrow_file(path) as file:
            column = pq.read_table(file, columns=[CHECKSUM])[CHECKSUM]
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise ByolaError(f"the checksums of the clips in {path} cannot be read; pack the store anew") from error
    if len(column) != len(store):
        raise ByolaError(f"{path} changed while the store was being checked; check it again")
    return column
