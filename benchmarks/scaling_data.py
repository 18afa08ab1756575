"""What an epoch costs for each clip, from a thousand clips to millions; a part of benchmarks/scaling.py.

Of the millions only the names and places exist: a store is laid out by the plan of `byol-a pack`, its shards in their
full length but sparse, so that reading one costs all but the disk; of an index of files some 250 are real.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import data_index
import numpy as np
import torch

from byol_a.data.clips import StoreClips
from byol_a.data.crops import Key, RandomCrops
from byol_a.data.index import AudioIndex
from byol_a.data.report import FileReport
from byol_a.data.sampling import EpochOrder
from byol_a.data.store.audio_store import SHARDS
from byol_a.data.store.folder import PackFolder
from byol_a.data.store.pack import SHARD_BYTES
from byol_a.data.store.plan import make_plan
from byol_a.data.store.shards import CHECKSUM_BYTES
from byol_a.data.store.tape import SAMPLE, shard_path
from byol_a.files import write_json
from byol_a.training.clip_list import gather_clips
from byol_a.training.config import DataConfig
from byol_a.training.distributed import Processes
from byol_a.training.sources import StreamSampler

SAMPLE_RATE, CROP_SAMPLES, BATCH = data_index.SAMPLE_RATE, data_index.CROP_SAMPLES, data_index.BATCH
STORE, UNREAD, FILES, INDEX = "store", "store, not read before", "wav", "index"
"""Where crops come from: a store in the page cache, one that is not (no disk is waited for), or files of an index."""


def measure(folder: Path, sizes: Sequence[int], batches: int, rounds: int) -> list[dict[str, Any]]:
    """Medians over rounds, in which all sizes take their turn, on one core; an entry for each number of clips.

    `open_seconds` by store and index, once a run; `order_seconds`, once an epoch; and in microseconds for each clip
    `key_us` (its place in the order), `crop_us` by source and, with the order's share, `epoch_us`.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    places = {}
    for size in sizes:
        index = data_index.make_index(folder / f"{size}", size)
        places[size] = {STORE: sparse_store(index, folder / f"{size}.store"), INDEX: index}
    found: dict[int, list[dict[str, Any]]] = {size: [] for size in sizes}
    for number in range(rounds):
        for size in sizes if number % 2 else reversed(sizes):
            found[size].append(_look(places[size], size, batches, seed=number))
    torch.set_num_threads(threads)
    return [{"clips": size, **_median(found[size])} for size in sizes]


def sparse_store(index: Path, out: Path) -> Path:
    """A finished store of an index whose files were not looked at: every sample is silence that takes no room."""
    settings = {"sample_rate": SAMPLE_RATE, "shard_bytes": SHARD_BYTES, "inputs": None}
    folder = PackFolder(out, settings)
    plan, _ = make_plan(AudioIndex.read(index), SAMPLE_RATE, SHARD_BYTES)
    folder.begin(plan)
    for part in (folder.shards, folder.parts):
        part.mkdir()
    nothing = "0" * 2 * CHECKSUM_BYTES
    for group in plan.groups:
        lengths = np.diff(group.bounds).tolist()
        for shard, length in enumerate(lengths, group.first_shard):
            with shard_path(folder.shards, shard).open("wb") as file:
                header: Any = {"descr": SAMPLE.str, "fortran_order": False, "shape": (length,)}
                np.lib.format.write_array_header_1_0(file, header)
                file.truncate(file.tell() + length * SAMPLE.itemsize)
        account = {
            "shards": [{"samples": length, "checksum": nothing} for length in lengths],
            "checksums": nothing * len(group.rows),
            "bad": [],
            "clipped": [],
        }
        write_json(folder.account_path(group), account)
    folder.finish(plan, FileReport(), {})
    return out


def _look(places: dict[str, Path], size: int, batches: int, seed: int) -> dict[str, Any]:
    """Open the store and the index, make an epoch's order, and take crops along it."""
    began = time.perf_counter()
    order = EpochOrder(size, seed)
    sampler = StreamSampler(order, BATCH, [slice(0, BATCH)])
    sampler.key(0)  # the first of an epoch makes its order
    ordered = time.perf_counter()
    sampler.span(0, batches)
    keys = list(sampler)
    told = time.perf_counter()
    opened, crops = {}, {}
    for kind, place in places.items():
        began_to_open = time.perf_counter()
        clip_list, _ = gather_clips([place], DataConfig(), Processes(0, 1, torch.device("cpu")))
        clips = RandomCrops(clip_list.open(SAMPLE_RATE), CROP_SAMPLES, SAMPLE_RATE, seed)
        if isinstance(clips.clips, StoreClips):  # a reader maps each shard when it first meets it: once a run as well
            tape = clips.clips.store.tape
            for first in tape.bounds[:-1]:
                tape.read(first, 1)
        opened[kind] = time.perf_counter() - began_to_open
        if kind == STORE:
            _forget(place / SHARDS)
            # Of few clips no more than half: the second crop of one finds some of it read.
            crops[UNREAD] = _take(clips, keys[: max(1, size // (2 * BATCH))])
            _take(clips, keys)
            crops[STORE] = _take(clips, keys)
        else:
            step = data_index.real_rows(size).step
            real: list[list[Key]] = [[(epoch, row - row % step) for epoch, row, _ in batch] for batch in keys]
            _take(clips, real[:4])  # brings the files into the page cache
            crops[FILES] = _take(clips, real)
    key_us, order_us = (told - ordered) / (batches * BATCH) * 1e6, (ordered - began) / size * 1e6
    return {
        "open_seconds": opened,
        "order_seconds": ordered - began,
        "key_us": key_us,
        "crop_us": crops,
        "epoch_us": {kind: value + key_us + order_us for kind, value in crops.items()},
    }


def _take(crops: RandomCrops, batches: Sequence[list[Key]]) -> float:
    """Microseconds a crop, into memory that is used again, as a data worker does."""
    out = torch.zeros(BATCH, CROP_SAMPLES, dtype=torch.int16)
    began = time.perf_counter()
    for keys in batches:
        crops.batch(keys, out)
    return (time.perf_counter() - began) / sum(map(len, batches)) * 1e6


def _forget(shards: Path) -> None:
    """Have the system drop what it keeps of the shards in memory."""
    for shard in shards.iterdir():
        with shard.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _median(found: list[Any]) -> Any:
    """The median of numbers, and of the numbers at the same places of dictionaries."""
    if isinstance(found[0], dict):
        return {name: _median([one[name] for one in found]) for name in found[0]}
    return statistics.median(found)
