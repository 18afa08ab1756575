"""Which clips a run learns from, and how often each is drawn: decided once, by the main process, the same for all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from byol_a.data.clips import Clips, FileClips, StoreClips
from byol_a.data.crops import Problems
from byol_a.data.files import find_names
from byol_a.data.index import AudioIndex
from byol_a.data.labels import label_weights
from byol_a.data.report import FileReport
from byol_a.data.sampling import checked_weights, duration_weights
from byol_a.data.selection import select
from byol_a.data.store.audio_store import AudioStore, is_store
from byol_a.errors import ByolaError, UsageError
from byol_a.training.config import DataConfig
from byol_a.training.distributed import Processes

# What a run keeps of an index, beside the names: what reading and drawing clips needs.
COLUMNS = ("offset", "size", "frames", "duration")
ROW, WEIGHT = "row", "weight"


@dataclass(frozen=True)
class ClipList:
    """The clips of a run, in order.

    Attributes:
        index: one row for each clip; its column `row` is the clip's place in a store, and `weight` how often the
            clip is drawn, where these apply.
        store: the packed store that the clips are read from; None for files.
        store_checksum: of the store's account of its clips, which holds a checksum of each clip's samples.
    """

    index: AudioIndex
    store: str | None = None
    store_checksum: str | None = None

    @classmethod
    def of_files(cls, files: Sequence[str | os.PathLike[str]]) -> ClipList:
        """A list of plain files, each drawn once an epoch."""
        return cls(AudioIndex.from_files(files))

    def __len__(self) -> int:
        return len(self.index)

    @property
    def weights(self) -> np.ndarray | None:
        """How often each clip is drawn, relative to the others, as float64 (N,); None for once each."""
        return self.index.array(WEIGHT) if WEIGHT in self.index.table.column_names else None

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits: whether two runs saw the same list."""
        return self.index.fingerprint()

    def open(self, sample_rate: int) -> Clips:
        """The clips, to be read at `sample_rate` in Hz.

        Raises:
            UsageError: if the store is gone, not complete, or of another rate.
            ByolaError: if it is not the store that the list was made from.
        """
        if self.store is None:
            return FileClips(self.index, sample_rate)
        store, rows = AudioStore.open(self.store, columns=["size"]), self.index.array(ROW)
        if store.sample_rate != sample_rate:
            raise UsageError(
                f"{self.store} holds sound at {store.sample_rate} Hz, and frontend.sample_rate is {sample_rate}; "
                f"pack it again with --rate {sample_rate}"
            )
        if checksum_of(store) != self.store_checksum:
            raise ByolaError(f"{self.store} is not the store that the run began with any more; start a new run")
        return StoreClips(store, rows)

    def at_root(self, root: str | None) -> ClipList:
        """The same clips where they lie now: another root of the files, or another folder of the store."""
        if root is None:
            return self
        if self.store is not None:
            return replace(self, store=str(Path(root).absolute()))
        return replace(self, index=self.index.at_root(root))


def checksum_of(store: AudioStore) -> str:
    """What tells a store from others, whatever their clips are called."""
    checksum: str = store.description["clips"]["checksum"]
    return checksum


def gather_clips(data: Sequence[str | Path], config: DataConfig, processes: Processes) -> tuple[ClipList, Problems]:
    """The clips to learn from, and the files that can be told to be unusable.

    Args:
        data: audio files and folders, or one index of `byol-a scan`, or one store of `byol-a pack`.
        config: filters and weights.
        processes: the main one looks, and tells the others.

    Raises:
        UsageError: if there is nothing to learn from, or the data are not of one of these kinds.
    """
    return processes.from_main(lambda: _gather(data, config))


def _gather(data: Sequence[str | Path], config: DataConfig) -> tuple[ClipList, Problems]:
    store = checksum = None
    problems: Problems = []
    columns = [*config.filter.columns, *COLUMNS]
    if is_store(data[0]) and len(data) == 1:
        store = os.path.abspath(data[0])  # noqa: PTH100
        opened = AudioStore.open(store, columns=columns)
        index, checksum = opened.index, checksum_of(opened)
        index = AudioIndex(index.table.append_column(ROW, pa.array(np.arange(len(index)))))
    elif Path(data[0]).suffix == ".parquet" and len(data) == 1:
        index = AudioIndex.read(data[0], columns)
        problems = index.problems()
        if config.root is not None:
            index = index.at_root(config.root)
    else:
        _refuse_mixtures(data)
        report = FileReport()
        index = AudioIndex.from_files(find_names(data, report))
        problems = report.items()
    if config.root is not None and (store is not None or not index.has_measurements):
        raise UsageError("data.root is for an index of data that were moved; give --data the place where they are now")
    chosen, turned_away = select(index, config.filter)
    chosen = _with_weights(chosen, config)
    _say(len(index), len(chosen), turned_away)
    kept = [name for name in ("root", "path", "raw_path", *COLUMNS, ROW, WEIGHT) if name in chosen.table.column_names]
    clips = ClipList(AudioIndex(chosen.table.select(kept)), store, checksum)
    del index, chosen
    # What filtering needed goes back to the system, before workers are forked.
    pa.default_memory_pool().release_unused()
    return clips, problems


def _refuse_mixtures(data: Sequence[str | Path]) -> None:
    for entry in data:
        if Path(entry).suffix == ".parquet" or is_store(entry):
            kind = "a store" if is_store(entry) else "an index"
            raise UsageError(f"{entry} is {kind}, which must be given alone; scan or pack all of the data together")


def _with_weights(index: AudioIndex, config: DataConfig) -> AudioIndex:
    """The index with a column `weight`, where clips are not all drawn alike; without those never drawn."""
    if config.sampling == "file":
        return index
    if config.sampling == "duration":
        weights = duration_weights(index.array("duration"))
    else:
        weights = label_weights(index.table["path"], config.labels)
        unlabelled = np.count_nonzero(weights == 0)
        if unlabelled:
            tables = ", ".join(config.labels)
            print(f"{unlabelled} of {len(index)} clips have no label in {tables} and are never drawn", flush=True)
    weighted = AudioIndex(index.table.append_column(WEIGHT, pa.array(checked_weights(weights))))
    return weighted if (weights > 0).all() else weighted.take(weights > 0)


def _say(found: int, used: int, turned_away: dict[str, int]) -> None:
    if turned_away:
        reasons = ", ".join(f"{count} {reason}" for reason, count in turned_away.items())
        print(f"{used} of {found} clips are used ({reasons})", flush=True)
