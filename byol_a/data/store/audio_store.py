"""A packed store: a folder that holds the decoded sound of many files, ready to be cropped.

STORE/store.json          sample rate, the shards with their checksums, what it was made with; written last of all
STORE/clips.parquet       the index columns of the packed clips; start, length (samples); checksum of each clip
STORE/shards/00000.npy    int16 (S,): mono samples; all shards in a row are the tape that `start` refers to
STORE/bad_files.csv       files that could not be packed, and why
STORE/scan.parquet        the index, where folders were packed

While it is being packed there are packing.json (what it will be), parts/ (accounts of the shards that are finished)
and .lock, and no store.json. To replace a store of folders, these are scanned to .next.parquet first.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from byol_a.data.arrays import HIGHEST_RATE
from byol_a.data.index import SCHEMA, AudioIndex
from byol_a.data.store.tape import Tape
from byol_a.errors import ByolaError, UsageError

FORMAT, FORMAT_VERSION = "byol-a-packed-audio", 1
STORE, CLIPS, SHARDS, BAD_FILES, SCAN = "store.json", "clips.parquet", "shards", "bad_files.csv", "scan.parquet"
PACKING, PARTS = "packing.json", "parts"
START, LENGTH, CHECKSUM = "start", "length", "checksum"
LONGEST_TAPE = 1 << 60  # samples: sums of a start and a length stay far from the end of 64 bits


class AudioStore:
    """A finished store; use `AudioStore.open`. It can be pickled, and read after a fork.

    Attributes:
        folder: where it is.
        description: the content of store.json.
        sample_rate: in Hz.
        index: one row for each of N clips, with the columns `start` and `length` besides the index's own.
        starts, lengths: int64 (N,), of each clip on the tape, in samples.
        tape: the samples of all clips.
    """

    def __init__(self, folder: Path, description: dict[str, Any], index: AudioIndex) -> None:
        self.folder, self.description, self.index = folder, description, index
        self.sample_rate: int = description["sample_rate"]
        self.tape = Tape(folder / SHARDS, [shard["samples"] for shard in description["shards"]])
        self.starts, self.lengths = _places(index, len(self.tape), folder)

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], columns: Sequence[str] | None = None, look_at_shards: bool = True
    ) -> AudioStore:
        """Open a store that `byol-a pack` has made.

        Args:
            path: its folder.
            columns: which columns of the index to load besides names and places; all if None.
            look_at_shards: whether to make sure now that all shards are there, of the right type and length.

        Raises:
            UsageError: if there is no store, it is not finished, or of another format version.
            ByolaError: if it is damaged.
        """
        folder = Path(path)
        description = read_description(folder)
        try:
            index = AudioIndex.read(folder / CLIPS, [*(SCHEMA.names if columns is None else columns), START, LENGTH])
        except ByolaError as error:
            raise ByolaError(f"the store {folder} is damaged: {error}") from error
        if len(index) != description["clips"]["rows"]:
            raise ByolaError(
                f"the store {folder} is damaged: {CLIPS} has {len(index)} rows, not {description['clips']['rows']}; "
                f"pack it anew with --overwrite"
            )
        store = cls(folder, description, index)
        if look_at_shards:
            for shard in range(len(description["shards"])):
                store.tape.open_shard(shard)
        return store

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.starts)

    def read(self, start: int, length: int) -> np.ndarray:
        """Samples `start` to `start + length` of the tape: int16 (S,), read-only; mostly a view of the memory map.

        Raises:
            UsageError: if they are not all on the tape.
            ByolaError: if a shard is damaged.
        """
        return self.tape.read(start, length)

    def verify(self, progress: bool = False) -> list[tuple[str, str]]:
        """Check everything against its checksum.

        Returns:
            (name, reason) of each damaged file of the store, followed by those of the clips that lie in damage.
        """
        from byol_a.data.store.verify import find_damage

        return find_damage(self, progress)


def is_store(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is a packed store, finished or not."""
    return any(_is_ours(read_json(Path(path) / name)) for name in (STORE, PACKING))


def read_description(folder: Path) -> dict[str, Any]:
    """store.json, with everything in it checked that is relied on; raises as `AudioStore.open` does."""
    if not folder.is_dir():
        raise UsageError(f"there is no store {folder}; make one with `byol-a pack DIR --out {folder}`")
    if not (folder / STORE).exists():
        if _is_ours(read_json(folder / PACKING)):
            raise UsageError(
                f"{folder} is not finished: {how_far(folder)}; run the same `byol-a pack` again to finish it"
            )
        raise UsageError(
            f"{folder} is not a packed store: it has no {STORE}; make one with `byol-a pack DIR --out STORE`"
        )
    description = read_json(folder / STORE)
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise ByolaError(f"{folder} is not a packed store, or it is damaged: its {STORE} does not describe one")
    version = description.get("format_version")
    if version != FORMAT_VERSION:
        raise UsageError(f"the store {folder} has format version {version}; this byol-a reads version {FORMAT_VERSION}")
    _check(description, folder)
    return description


def how_far(folder: Path) -> str:
    """How much of an unfinished store is there, as "3 of 12 shards are packed"."""
    packing = read_json(folder / PACKING)
    shards = packing.get("shards") if isinstance(packing, dict) else None
    if not _is_count(shards, LONGEST_TAPE):
        return "nothing is packed yet"
    finished = sum(1 for path in (folder / SHARDS).glob("*.npy") if not path.name.startswith("."))
    return f"{finished} of {shards} shards are packed"


def read_json(path: Path) -> Any:
    """The value in a JSON file, whoever wrote it; None where there is none, or it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None


def _is_ours(description: Any) -> bool:
    return isinstance(description, dict) and description.get("format") == FORMAT


def _is_count(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _check(description: dict[str, Any], folder: Path) -> None:
    rate, shards, clips, counts = (description.get(name) for name in ("sample_rate", "shards", "clips", "counts"))
    fine = (
        _is_count(rate, HIGHEST_RATE)
        and isinstance(clips, dict)
        and _is_count(clips.get("rows"), LONGEST_TAPE)
        and isinstance(clips.get("checksum"), str)
        and isinstance(counts, dict)
        and all(isinstance(counts.get(name), int) for name in ("bytes", "clipped"))
        and isinstance(shards, list)
        and len(shards) > 0
        and all(
            isinstance(shard, dict)
            and _is_count(shard.get("samples"), LONGEST_TAPE)
            and isinstance(shard.get("checksum"), str)
            for shard in shards
        )
    )
    if not fine or sum(shard["samples"] for shard in shards or []) > LONGEST_TAPE:
        raise ByolaError(f"the store {folder} is damaged: {STORE} says what cannot be; pack it anew with --overwrite")


def _places(index: AudioIndex, tape_samples: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Start and length of each clip, all of them on the tape."""
    for name in (START, LENGTH):
        if name not in index.table.column_names or index.table[name].type != pa.int64():
            raise ByolaError(f"the store {folder} is damaged: {CLIPS} has no column of integers {name!r}")
    starts, lengths = index.array(START), index.array(LENGTH)  # -1 for null
    # Compared in an order in which nothing can overflow: a length is on the tape before a start is.
    on_tape = (lengths >= 1) & (lengths <= tape_samples) & (starts >= 0)
    on_tape &= starts <= tape_samples - np.where(on_tape, lengths, 0)
    if not on_tape.all():
        row = int(np.argmin(on_tape))
        raise ByolaError(
            f"the store {folder} is damaged: {CLIPS} places {index.name(row)} outside of the {tape_samples} samples "
            f"that are there; pack it anew with --overwrite"
        )
    return starts, lengths
