"""The list of all there is to scan: files below folders, members of archives, and what cannot be used from the start.

Millions of names go into Arrow columns a few thousand at a time; no object is kept for each but its name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import pyarrow as pa

from byol_a.data.files import find_names
from byol_a.data.index import AudioIndex, readable, text_root
from byol_a.data.report import FileReport
from byol_a.data.tar import COMPRESSED, COMPRESSED_TAR_ENDINGS, TAR_ENDINGS, TarListing, is_tar, list_tar
from byol_a.data.worker_pool import Failure, map_chunks
from byol_a.progress import Progress

_SCHEMA = pa.schema(
    [
        ("root", pa.string()),
        ("path", pa.large_string()),
        ("raw_path", pa.large_binary()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("error", pa.string()),
    ]
)
_ROWS_AT_ONCE = 1 << 14
_STAT_THREADS = 16  # on a network drive, looking at a file is waiting


class Inputs:
    """Files and folders to scan. `paths`: their absolute names."""

    def __init__(self, inputs: Iterable[str | os.PathLike[str]]) -> None:
        self.paths = [_absolute(os.fspath(path)) for path in inputs]
        self._folders = {path for path in self.paths if os.path.isdir(path)}  # noqa: PTH112
        self.root_of = lru_cache(maxsize=1 << 12)(self._root_of)

    @property
    def roots(self) -> set[str]:
        """All roots that rows of these inputs can have."""
        files = {os.path.dirname(path) for path in self.paths if path not in self._folders}  # noqa: PTH120
        return {self.root_of(folder) for folder in self._folders | files}

    def _root_of(self, folder: str) -> str:
        """What the files of a folder are relative to: the nearest input above, or the folder, of files given by name.

        What is not text cannot be a root; then it is a folder further up.
        """
        above = folder
        while above not in self._folders and above != os.path.dirname(above):  # noqa: PTH120
            above = os.path.dirname(above)  # noqa: PTH120
        return text_root(os.fsencode(above if above in self._folders else folder))


def list_files(inputs: Inputs, workers: int | None = None, progress: bool = True) -> AudioIndex:
    """The rows of an index before any sound is decoded: names, sizes and times, in the order of the names.

    What is known to be of no use from the start has its `error`: audio of an unsupported format, a folder that may
    not be listed, a compressed archive, a link in an archive.

    Args:
        inputs: where to look; tar archives below folders are looked into as well.
        workers: processes that list archives; as many as cores if None.
        progress: whether to show progress while archives are listed.

    Raises:
        UsageError: if an input does not exist or cannot be listed, or if nothing is found.
    """
    report = FileReport()
    names = find_names(inputs.paths, report, endings=TAR_ENDINGS + COMPRESSED_TAR_ENDINGS)
    for name in names:
        if name.lower().endswith(COMPRESSED_TAR_ENDINGS):
            report.add(name, COMPRESSED)
    errors = dict(report.items())
    if errors:
        names = sorted({*names, *errors})
    archives = [name for name in names if is_tar(name) and name not in errors]
    members = dict(_list_archives(archives, inputs, workers, progress))
    rows = _Rows()
    for name, size, mtime_ns in _with_stamps(names):
        if name in members:
            rows.add_table(members.pop(name))
        else:
            root = inputs.root_of(os.path.dirname(name))  # noqa: PTH120
            rows.add(root, os.fsencode(name), None, size, mtime_ns, errors.get(name))
    table = rows.table()
    return AudioIndex(table.set_column(0, "root", table["root"].dictionary_encode()), "the list of files")


class _Rows:
    """A table that is appended to."""

    def __init__(self) -> None:
        self._tables: list[pa.Table] = [_SCHEMA.empty_table()]
        self._rows: list[tuple[object, ...]] = []

    def add(
        self, root: str, name: bytes, offset: int | None, size: int | None, mtime_ns: int | None, error: str | None
    ) -> None:
        """`name` is the whole one, root included."""
        below = name[len(root.rstrip("/").encode()) + 1 :]
        self._rows.append((root, *readable(below), offset, size, mtime_ns, error))
        if len(self._rows) == _ROWS_AT_ONCE:
            self._flush()

    def add_table(self, table: pa.Table) -> None:
        self._flush()
        self._tables.append(table)

    def _flush(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            self._tables.append(pa.table([pa.array(c, f.type) for c, f in zip(columns, _SCHEMA, strict=True)], _SCHEMA))
            self._rows = []

    def table(self) -> pa.Table:
        self._flush()
        return pa.concat_tables(self._tables)


def _list_archives(
    archives: list[str], inputs: Inputs, workers: int | None, progress: bool
) -> Iterator[tuple[str, pa.Table]]:
    if not archives:
        return
    with Progress("listing", len(archives), unit="archive", enabled=progress) as bar:
        for chunk, listings in map_chunks(list_tar, ([name] for name in archives), workers):
            for name, listing in zip(chunk, listings, strict=True):
                if isinstance(listing, Failure):
                    listing = TarListing(error=f"unreadable: {listing.reason}")
                yield name, _member_rows(name, listing, inputs.root_of(os.path.dirname(name)))  # noqa: PTH120
            bar.advance(len(chunk))


def _member_rows(archive: str, listing: TarListing, root: str) -> pa.Table:
    """The rows of an archive: its members, and itself if something is wrong with it."""
    rows = _Rows()
    size, mtime_ns = _stamp(archive)
    name = os.fsencode(archive)
    for member, (offset, member_size) in listing.members.items():
        rows.add(root, name + b"/" + member, offset, member_size, mtime_ns, None)
    for member, (member_size, reason) in listing.bad_members.items():
        rows.add(root, name + b"/" + member, None, member_size, mtime_ns, reason)
    error = listing.error
    if not (listing.members or listing.bad_members or error):
        error = "empty: no audio in the archive"
    if error:
        rows.add(root, name, None, size, mtime_ns, error)
    return rows.table()


def _with_stamps(names: list[str]) -> Iterator[tuple[str, int | None, int | None]]:
    """Each name with what `_stamp` says of it, asked in several threads."""
    chunks = [names[begin : begin + _ROWS_AT_ONCE] for begin in range(0, len(names), _ROWS_AT_ONCE)]
    with ThreadPoolExecutor(_STAT_THREADS) as threads:
        for chunk, (sizes, times) in zip(chunks, threads.map(_stamps, chunks), strict=True):
            for name, size, time in zip(chunk, sizes.tolist(), times.tolist(), strict=True):
                yield (name, None, None) if size < 0 else (name, size, time)


def _stamps(names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Sizes and times as int64 (N,), which take less room than objects; -1 for nothing."""
    stamps = np.array([(-1, -1) if (stamp := _stamp(name))[0] is None else stamp for name in names], np.int64)
    return stamps[:, 0], stamps[:, 1]


def _stamp(name: str) -> tuple[int, int] | tuple[None, None]:
    """Size in bytes and time of the last change in ns, of a regular file that is there."""
    try:
        status = os.stat(name)  # noqa: PTH116
    except OSError:
        return None, None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else (None, None)


def _absolute(path: str) -> str:
    # "link/.." is not where the link stands, so only the file system can tell what two dots mean.
    return os.path.realpath(path) if ".." in path.split("/") else os.path.abspath(path)  # noqa: PTH100
