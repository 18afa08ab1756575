"""Packing: decode a whole collection once, into a store that is cropped as fast as memory can be read."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from byol_a.data.index import AudioIndex, readable
from byol_a.data.report import FileReport
from byol_a.data.scan.scan import scan
from byol_a.data.selection import FilterConfig, select
from byol_a.data.store.audio_store import BAD_FILES, AudioStore, how_far, is_store
from byol_a.data.store.folder import PackFolder
from byol_a.data.store.plan import Group, Plan, check_settings, make_plan
from byol_a.data.store.shards import Clip, Job, RootGone, WriteError, is_gone, pack_shards
from byol_a.data.store.tape import shard_path
from byol_a.data.worker_pool import Failure, map_chunks
from byol_a.errors import ByolaError, UsageError, require
from byol_a.files import FULL_DISK, words_for_a_full_disk
from byol_a.interrupt import Interrupted, StopSignals
from byol_a.lock import WriterLock
from byol_a.progress import Progress, format_bytes

SHARD_BYTES = 256_000_000
_ROOM_TO_SPARE = 1.05  # times what is known to be needed
_TABLE_BYTES = 200  # of a clip in clips.parquet and its account, at most


@dataclass(frozen=True)
class PackResult:
    """What `pack` has made.

    Attributes:
        store: the finished store.
        report: files that could not be packed.
        dropped: how many clips each filter turned away.
        is_new: whether there was anything left to do.
    """

    store: AudioStore
    report: FileReport
    dropped: dict[str, int]
    is_new: bool

    @property
    def hours(self) -> float:
        """Length of all clips."""
        return int(self.store.lengths.sum()) / self.store.sample_rate / 3600

    @property
    def clipped(self) -> int:
        """How many clips were louder than full scale somewhere, and are cut off there."""
        return int(self.store.description["counts"]["clipped"])


def pack(
    inputs: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    sample_rate: int = 16000,
    filters: FilterConfig | None = None,
    shard_bytes: int = SHARD_BYTES,
    workers: int | None = None,
    overwrite: bool = False,
    skip_unreadable: bool = False,
    root: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> PackResult:
    """Decode audio files to a packed store, going on where an earlier run was stopped.

    Samples are what `read_audio` gives, as int16. A file that is no good, or not the one that was scanned, is left out
    and named in the store's bad_files.csv. Memory is bounded, however long a file is.

    Args:
        inputs: one index (.parquet) that `byol-a scan` made, or audio files and folders, which are scanned first.
        out: the store, a folder.
        sample_rate: of the store in Hz.
        filters: which clips of the index to pack; all usable ones if None.
        shard_bytes: the most that one file of the store takes up.
        workers: processes; as many as there are cores for this process if None.
        overwrite: replace a store that is there, once it is known that another one can be made in its place.
        skip_unreadable: also leave out files that just cannot be opened or read. Without it the store is not finished,
            for they may be back another time, like those of a drive that is not mounted; the same call tries again.
        root: where the files of the index are now, if they were moved since the scan.
        progress: whether to show progress on standard error.

    Raises:
        UsageError: if there is something else at `out`, a store made otherwise, or one that is being written.
        ByolaError: if there is not enough room, writing fails, a file cannot be read or ends two worker processes in
            a row, or nothing could be packed. What is finished stays, and the same call goes on from there.
        Interrupted: after SIGINT or SIGTERM; as above.
    """
    require("soundfile", "reading audio files")  # here, rather than in every worker
    require("soxr", "changing the sample rate of audio")
    filters, paths, path = filters or FilterConfig(), [Path(item) for item in inputs], Path(out)
    if not os.fspath(out):
        raise UsageError("the name of the store is empty; give --out the folder to make")
    check_settings(sample_rate, shard_bytes)
    index = _given_index(paths)
    if root is not None:
        if index is None:
            raise UsageError(f"--root says where the files of an index are now; folders such as {paths[0]} have none")
        index = index.at_root(root)
    scanned = None if index is not None else [readable(os.fsencode(item.absolute()))[0] for item in paths]
    settings = {"sample_rate": sample_rate, "shard_bytes": shard_bytes, "inputs": scanned}
    folder = PackFolder(path, settings)
    refusal = f"another process is packing into {path}; wait until it has ended, or choose another --out"

    def full() -> str:
        how = how_far(folder.path)
        return f"the disk of {folder.path} is full ({how}, and kept); make room, and run the same `byol-a pack` again"

    with WriterLock(folder.lock, refusal), words_for_a_full_disk(full):
        try:
            return _Packing(folder, filters, workers, skip_unreadable, progress).run(index, paths, overwrite)
        finally:
            folder.leave()


class _Layout(NamedTuple):
    plan: Plan
    report: FileReport  # files that have no place in it
    dropped: dict[str, int]  # how many clips each filter turned away


class _Packing:
    def __init__(
        self,
        folder: PackFolder,
        filters: FilterConfig,
        workers: int | None,
        skip_unreadable: bool,
        progress: bool,
    ) -> None:
        self._folder, self._filters, self._workers = folder, filters, workers
        self._skip_unreadable, self._progress = skip_unreadable, progress

    def run(self, given: AudioIndex | None, inputs: list[Path], overwrite: bool) -> PackResult:
        folder = self._folder
        earlier = folder.own_attempt() if overwrite else folder.earlier()
        layout = self._lay_out(given, inputs, is_planned=bool(earlier))
        if not overwrite:
            folder.require_same(earlier, layout.plan.fingerprint())
        elif earlier and earlier["fingerprint"] != layout.plan.fingerprint():
            earlier, layout = {}, self._lay_out(given, inputs, is_planned=False)
        is_new = overwrite or not folder.is_finished
        if is_new:
            self._pack(layout.plan, goes_on=bool(earlier), overwrite=overwrite)
            about = {"filters": asdict(self._filters), "dropped": layout.dropped}
            folder.finish(layout.plan, layout.report, about, self._skip_unreadable)
        else:
            folder.tidy()  # a kill may have come between the last file and the tidying up
        report = FileReport.read(folder.path / BAD_FILES)
        return PackResult(AudioStore.open(folder.path), report, layout.dropped, is_new)

    def _lay_out(self, given: AudioIndex | None, inputs: list[Path], is_planned: bool) -> _Layout:
        """Decide what goes where; nothing of a store that is there is touched."""
        index = self._scanned(inputs, is_planned) if given is None else given
        report = FileReport()
        report.extend(index.problems())
        selected, dropped = select(index, self._filters)
        plan, rejected = make_plan(selected, self._folder.settings["sample_rate"], self._folder.settings["shard_bytes"])
        report.extend(rejected)
        return _Layout(plan, report, dropped)

    def _scanned(self, inputs: list[Path], is_planned: bool) -> AudioIndex:
        """The index of folders: once it is decided what goes where, that does not follow what changes in them."""
        if is_planned:
            return AudioIndex.read(self._folder.scan)
        place = self._folder.place_for_scan()
        return scan(inputs, place, workers=self._workers, overwrite=True, progress=self._progress).index

    def _pack(self, plan: Plan, goes_on: bool, overwrite: bool) -> None:
        """Write the shards that are not there yet."""
        folder, todo = self._folder, plan.groups
        if goes_on:
            folder.remove_partials()
            todo = [group for group in plan.groups if not folder.is_packed(group, self._skip_unreadable)]
        self._require_roots(plan, todo)
        _require_room(folder, plan, todo, 0 if goes_on else folder.bytes_of_shards())
        if not goes_on:
            folder.clear()
            folder.begin(plan, overwrite)
        for part in (folder.shards, folder.parts):
            part.mkdir(exist_ok=True)
        for group in todo:  # an account must not outlive the shards that it speaks of
            folder.account_path(group).unlink(missing_ok=True)
        folder.counts.write_bytes(bytes(8 * len(todo)))
        try:
            self._write(plan, todo)
        finally:
            folder.remove_partials()  # of workers that were ended

    def _require_roots(self, plan: Plan, todo: list[Group]) -> None:
        for root in plan.index.column("root").unique().to_pylist() if todo else ():
            if is_gone(root):
                raise self._root_gone(root)

    def _root_gone(self, root: str) -> ByolaError:
        return ByolaError(
            f"{root} is not there or empty, so that its files cannot be read ({how_far(self._folder.path)}); mount it "
            f"again and run the same `byol-a pack` again, or say with --root where the files of an index are now"
        )

    def _write(self, plan: Plan, todo: list[Group]) -> None:
        done = len(plan.index) - sum(len(group.rows) for group in todo)
        finished = np.zeros(len(todo), bool)
        work = map_chunks(pack_shards, ([job] for job in _jobs(plan, todo, self._folder)), self._workers)
        with (
            StopSignals() as stop,
            Progress("packing", len(plan.index), "clip", self._progress, start=done) as bar,
            closing(work),
        ):
            for jobs, outcomes in work:
                for job, outcome in zip(jobs, outcomes, strict=True):
                    if outcome is not None:
                        self._fail(job, outcome)
                    finished[job.number] = True
                    done += len(job.clips)
                in_hand = np.fromfile(self._folder.counts, "<i8")[~finished].sum()
                bar.advance(done + int(in_hand) - bar.done)
                if stop.number:
                    name = signal.Signals(stop.number).name
                    raise Interrupted(f"stopped by {name}; {self._what_is_left()}", stop.number)

    def _fail(self, job: Job, outcome: WriteError | RootGone | Failure) -> NoReturn:
        path = self._folder.path
        if isinstance(outcome, RootGone):
            raise self._root_gone(outcome.root)
        if isinstance(outcome, WriteError):
            if outcome.number in FULL_DISK:
                raise OSError(outcome.number, outcome.text)
            raise ByolaError(f"{path} cannot be written to ({outcome.text}); {self._what_is_left()}")
        shard = shard_path(self._folder.shards, job.first_shard)
        in_hand = int(np.fromfile(self._folder.counts, "<i8")[job.number])
        clip = job.clips[min(in_hand, len(job.clips) - 1)]
        if outcome.crashed:
            raise ByolaError(
                f"the worker that packs {shard} died twice ({outcome.reason}), the second time over {clip.name}; move "
                f"that file away, and run the same `byol-a pack` again with --skip-unreadable"
            )
        raise ByolaError(f"{shard} could not be packed, because of {clip.name} or what follows it: {outcome.reason}")

    def _what_is_left(self) -> str:
        return f"{how_far(self._folder.path)}; run the same `byol-a pack` again to go on"


def _given_index(inputs: Sequence[Path]) -> AudioIndex | None:
    """The index among the inputs; None where files and folders are given."""
    if not inputs:
        raise UsageError("there is nothing to pack; give an index, or folders that hold audio")
    for path in inputs:
        if is_store(path):
            raise UsageError(f"{path} is a packed store already; give the index or the folders that it was made of")
    if not any(path.suffix == ".parquet" and not path.is_dir() for path in inputs):
        return None
    if len(inputs) > 1:
        raise UsageError(f"one index can be packed, or files and folders; not {', '.join(map(str, inputs))}")
    return AudioIndex.read(inputs[0])


def _jobs(plan: Plan, todo: list[Group], folder: PackFolder) -> Iterator[Job]:
    index = plan.index
    columns = [index.array(name) for name in ("offset", "size", "mtime_ns", "frames", "sample_rate")]
    root_column = index.column("root")
    for number, group in enumerate(todo):
        rows = slice(group.rows.start, group.rows.stop)
        numbers = zip(*(column[rows].tolist() for column in (*columns, plan.starts, plan.lengths)), strict=True)
        clips = []
        for row, (offset, size, *others) in zip(group.rows, numbers, strict=True):
            name = index.name(row)
            if offset < 0:
                clips.append(Clip(row, name, name, None, size, *others))
            else:
                clips.append(Clip(row, name, index.archive(row)[0], (offset, size), -1, *others))
        account = folder.account_path(group)
        yield Job(
            number,
            folder.shards,
            account,
            folder.counts,
            group.first_shard,
            group.bounds,
            plan.sample_rate,
            clips,
            root_column[rows].unique().to_pylist(),
        )


def _require_room(folder: PackFolder, plan: Plan, todo: list[Group], freed: int) -> None:
    needed = int(_ROOM_TO_SPARE * (plan.bytes_of(todo) + _TABLE_BYTES * len(plan.index)))
    free = shutil.disk_usage(folder.path).free + freed
    if needed > free:
        raise ByolaError(
            f"packing {folder.path} takes another {format_bytes(needed)}, but its disk has {format_bytes(free)} left; "
            f"make room, or choose another --out"
        )
