"""Scanning: look into every audio file below folders once, in parallel, and keep what was found in an index.

A scan goes on where an earlier one was interrupted, and a later one reads only what is new or has changed since.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from byol_a.arrow import arrow_file
from byol_a.data.index import FORMAT, SCHEMA, AudioIndex
from byol_a.data.scan.listing import Inputs, list_files
from byol_a.data.scan.measure import Measurement, measure
from byol_a.data.scan.parts import ScanParts, require_place
from byol_a.data.scan.plan import ScanPlan, compare, find_rows
from byol_a.data.worker_pool import Failure, map_chunks
from byol_a.errors import ByolaError, UsageError, require
from byol_a.files import words_for_a_full_disk
from byol_a.interrupt import Interrupted, StopSignals
from byol_a.progress import Progress

__all__ = ["Measurement", "ScanResult", "measure", "scan"]

COMMIT_SECONDS, COMMIT_FILES = 20.0, 1 << 15  # a part is written after this much work
_CHUNK_FILES, _CHUNK_BYTES = 64, 16 << 20  # what a worker gets at a time: a second's work or so
_CRASHED = "unreadable: the decoder crashed on it"


@dataclass(frozen=True)
class ScanResult:
    """A scan's index, and how many of its files are new, changed or unchanged against the index that was there before.

    `gone`: files that were in that one only. `read`: files that this scan decoded; the others were known.
    """

    index: AudioIndex
    new: int
    changed: int
    unchanged: int
    gone: int
    read: int

    @property
    def unusable(self) -> int:
        """How many rows of the index have an error."""
        errors = self.index.column("error")
        return len(errors) - errors.null_count


def scan(
    inputs: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    workers: int | None = None,
    rescan: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> ScanResult:
    """Scan files and folders into an index, which then describes exactly these.

    A file is known, and not read again, if the index at `out` or an interrupted scan has a row of the same path, size
    and time of change. Files that could not be read, as without permission, are tried again each time. A decoder
    that crashes costs the file it crashed on.

    Args:
        inputs: folders, audio files and tar archives.
        out: the file to write, *.parquet, at once when all is done; until then parts lie in a hidden folder beside it.
        workers: processes; as many as there are cores for this process if None.
        rescan: read everything again.
        overwrite: also replace an index of other folders, or of more.
        progress: whether to show progress on standard error.

    Raises:
        UsageError: if an input does not exist, nothing is found, `out` is not the name of a Parquet file, is there
            and is no index, or one of other folders or of more, or another process is scanning into it.
        ByolaError: if the disk gets full; what was read is kept for the next scan.
        Interrupted: after SIGINT or SIGTERM; what was read is kept for the next scan.
    """
    require("soundfile", "reading audio files")  # asked once, here, and not of every worker
    out, given = Path(out), Inputs(inputs)
    require_place(out)
    parts = ScanParts(out)

    def full() -> str:
        how = f"{parts.n_files()} files are scanned, and kept"
        return f"the disk of {out} is full ({how}); make room, and run the same command again to go on"

    with words_for_a_full_disk(full), parts:
        old = _read_old(out, given, overwrite, progress)
        left = parts.begin(rescan)
        files = list_files(given, workers, progress)
        plan = ScanPlan(files)
        plan.take_known(left, find_rows(files, left))
        row = find_rows(files, old)
        if not rescan:
            plan.take_known(old, row)
        counts = compare(files, old, row)
        unknown = plan.unknown()
        pa.default_memory_pool().release_unused()  # before the workers are forked
        _read(plan, unknown, parts, workers, progress)
        index = plan.index()
        index.write(out)
        parts.clear()
    return ScanResult(index=index, read=len(unknown), **counts)


def _read_old(out: Path, given: Inputs, overwrite: bool, progress: bool) -> AudioIndex:
    """The index that is there, or an empty one; refuses what may not be replaced."""
    if not out.exists():
        return AudioIndex.from_files([])
    try:
        with arrow_file(out) as file:
            metadata = pq.read_schema(file).metadata or {}
    except (pa.ArrowException, OSError):
        metadata = {}
    if metadata.get(b"format") != FORMAT.encode():
        raise UsageError(f"{out} is there and is not an index made by a scan, so it is kept; choose another --out")
    try:
        old = AudioIndex.read(out)
    except UsageError:
        raise
    except ByolaError as error:
        Progress("scanning", enabled=progress).write(f"{error.args[0]}: everything is read again")
        return AudioIndex.from_files([])
    if len(old) and not overwrite:
        others = [root for root in old.roots if root not in given.roots]
        if len(others) == len(old.roots):
            raise UsageError(
                f"{out} is an index of {' and '.join(others[:3])}, not of {' and '.join(sorted(given.roots)[:3])}; "
                "choose another --out, or pass --overwrite to replace it"
            )
        dropped = [root for root in others if Path(root).exists()]
        if dropped:
            raise UsageError(
                f"{out} is an index of {' and '.join(dropped[:3])} as well, which would be dropped from it; give all "
                "of its folders, choose another --out, or pass --overwrite to drop them"
            )
    return old


class _Job(NamedTuple):
    file: int  # its number in the listing
    path: str
    section: tuple[int, int] | None


def _measure_job(job: _Job) -> Measurement:
    return measure(job.path, job.section)


def _read(plan: ScanPlan, files: np.ndarray, parts: ScanParts, workers: int | None, progress: bool) -> None:
    """Measure the listed `files`, committing now and then."""
    total = len(plan.listing)
    batch = _Batch(plan, parts)
    n_read = n_unusable = 0
    with (
        StopSignals() as stop,
        Progress("scanning", total, start=total - len(files), enabled=progress) as bar,
        contextlib.closing(map_chunks(_measure_job, _chunks(plan.listing, files), workers)) as finished,
    ):
        try:
            for jobs, results in finished:
                measured = [_failed(result) if isinstance(result, Failure) else result for result in results]
                batch.add([job.file for job in jobs], measured)
                n_read += len(jobs)
                n_unusable += sum(row.error is not None for row in measured)
                bar.advance(len(jobs), **({"unusable": n_unusable} if n_unusable else {}))
                if stop.number:
                    break
        finally:
            batch.commit()
    if stop.number and n_read < len(files):
        raise Interrupted(
            f"the scan was stopped by {signal.Signals(stop.number).name} with {total - len(files) + n_read} of {total} "
            "files done, which are kept; run the same command again to go on",
            stop.number,
        )


def _chunks(listing: AudioIndex, files: np.ndarray) -> Iterator[list[_Job]]:
    sizes, offsets = listing.array("size"), listing.array("offset")
    chunk: list[_Job] = []
    n_bytes = 0
    for file in files.tolist():
        size, offset = int(sizes[file]), int(offsets[file])
        if offset < 0:
            chunk.append(_Job(file, listing.name(file), None))
        else:
            chunk.append(_Job(file, listing.archive(file)[0], (offset, size)))
        n_bytes += size
        if len(chunk) == _CHUNK_FILES or n_bytes >= _CHUNK_BYTES:
            yield chunk
            chunk, n_bytes = [], 0
    if chunk:
        yield chunk


def _failed(failure: Failure) -> Measurement:
    return Measurement(error=_CRASHED if failure.crashed else f"unreadable: {failure.reason}")


class _Batch:
    """What was measured since the last part was written."""

    def __init__(self, plan: ScanPlan, parts: ScanParts) -> None:
        self._plan, self._parts = plan, parts
        self._files: list[int] = []
        self._rows: list[Measurement] = []
        self._began = time.monotonic()

    def add(self, files: list[int], rows: list[Measurement]) -> None:
        self._files += files
        self._rows += rows
        if time.monotonic() - self._began > COMMIT_SECONDS or len(self._files) >= COMMIT_FILES:
            self.commit()

    def commit(self) -> None:
        """Make it a part on disk."""
        self._began = time.monotonic()
        if not self._files:
            return
        files = np.array(self._files)
        table = self._plan.listing.take(files).table.drop_columns(["error"])
        for name, values in zip(Measurement._fields, zip(*self._rows, strict=True), strict=True):
            kind = SCHEMA.field(name).type
            is_name = pa.types.is_dictionary(kind)
            column = pa.array(values, pa.string()).dictionary_encode() if is_name else pa.array(values, kind)
            table = table.append_column(name, column)
        part = AudioIndex(table)
        self._parts.add(part)
        self._plan.take(files, part, np.arange(len(files)))
        self._files, self._rows = [], []
