"""Digests of files' contents; those of files that were not touched since are remembered."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from byol_a.data.worker_pool import available_cores
from byol_a.progress import Progress

# A file written to twice within the tick of its file system's clock looks as if it were written to once.
SETTLED_SECONDS = 2.0
_AT_ONCE = 2000
_ASKED_AT_ONCE = 250  # files whose state one thread asks for: less would be mostly handing over
_PATIENCE_SECONDS = 10.0  # for another process to be done with its part
_TABLE_VERSION = 1  # of the columns: a table of another version is made anew
_TABLE = (
    "CREATE TABLE digests (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, "
    "inode INTEGER, digest BLOB) WITHOUT ROWID"
)


class _State(NamedTuple):
    """What a file system says of a file; another content has another state."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True)
class FileDigests:
    """Digests of files, and the state that each file was in.

    Attributes:
        contents: 16 bytes for each file, of its contents alone.
        states: a number for each file, of its state; kept small, there may be millions of them.
    """

    paths: Sequence[Path]
    contents: list[bytes]
    states: list[int]

    def is_current(self, place: int) -> bool:
        """Whether the file at `place` still holds what was digested."""
        name = os.fspath(self.paths[place])
        return hash(_state(name)) == self.states[place] or _digest_of(name) == self.contents[place]


def file_digests(paths: Sequence[Path], memory: Path | None, progress: bool | None = None) -> FileDigests:
    """Digests of files' contents; a file that cannot be read has a digest that says why.

    Args:
        memory: a file that remembers digests from one run to the next; None remembers nothing. Without the right to
            write there, or with a damaged one, files are just read again.
        progress: as `byol_a.progress.Progress` takes it.
    """
    unique = list(dict.fromkeys(os.fspath(path) for path in paths))
    found: dict[str, tuple[bytes, int]] = {}
    with (
        _Memory(memory) as remembered,
        ThreadPoolExecutor(max(2, available_cores())) as threads,  # hashing and reading leave Python's lock
        Progress("reading files", len(unique), enabled=progress) as bar,
    ):
        began = time.monotonic()
        for start in range(0, len(unique), _AT_ONCE):
            names = unique[start : start + _AT_ONCE]
            slices = [names[place : place + _ASKED_AT_ONCE] for place in range(0, len(names), _ASKED_AT_ONCE)]
            states = [state for some in threads.map(_states, slices) for state in some]
            known = remembered.get(names)
            stale = [
                (name, state)
                for name, state in zip(names, states, strict=True)
                if state is None or known.get(name, (None,))[0] != state
            ]
            fresh = dict(
                zip((name for name, _ in stale), threads.map(_digest_of, (name for name, _ in stale)), strict=True)
            )
            for name, state in zip(names, states, strict=True):
                found[name] = fresh[name] if name in fresh else known[name][1], hash(state)
            # What changed while it was read, or just before, is read again next time.
            remembered.put(
                (name, state, fresh[name])
                for name, state in stale
                if state is not None and _is_settled(state) and _state(name) == state
            )
            bar.advance(len(names))
        if time.monotonic() - began < 2.0:
            bar.enabled = False  # no closing line for what nobody had to wait for
    of_each = [found[os.fspath(path)] for path in paths]
    return FileDigests(paths, [content for content, _ in of_each], [state for _, state in of_each])


def _states(names: Sequence[str]) -> list[_State | None]:
    return [_state(name) for name in names]


def _state(name: str) -> _State | None:
    try:
        state = os.stat(name)  # noqa: PTH116 (of millions)
    except (OSError, ValueError):
        return None
    return _State(state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)


def _is_settled(state: _State) -> bool:
    # Not by mtime, which anybody can set, to the future as well; ctime is the time of the change itself.
    return state.ctime_ns < time.time_ns() - SETTLED_SECONDS * 1e9


def _digest_of(name: str) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    path = Path(name)
    try:
        if path.exists() and not path.is_file():  # a pipe or a device would be read for ever
            return hashlib.blake2b(b"not a file", digest_size=16).digest()
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        digest.update(f"unreadable: {error.errno}".encode())
    except ValueError:  # no name that a file could have
        digest.update(b"unreadable")
    return digest.digest()


class _Memory:
    """A table in a file, or nothing at all where there can be none: it only saves work."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._table = path, None if path is None else _open(path)

    def __enter__(self) -> _Memory:
        return self

    def __exit__(self, *details: object) -> None:
        if self._table is not None:
            self._table.close()

    def get(self, names: Sequence[str]) -> dict[str, tuple[_State, bytes]]:
        """State and digest of the names that are known."""
        known: dict[str, tuple[_State, bytes]] = {}
        if self._table is not None:
            try:
                for start in range(0, len(names), 500):  # SQLite takes so many values and not many more
                    some = [os.fsencode(name) for name in names[start : start + 500]]
                    marks = ",".join("?" * len(some))
                    query = f"SELECT path, size, mtime_ns, ctime_ns, inode, digest FROM digests WHERE path IN ({marks})"
                    for path, size, mtime_ns, ctime_ns, inode, digest in self._table.execute(query, some):
                        if isinstance(digest, bytes) and len(digest) == 16:
                            known[os.fsdecode(path)] = (_State(size, mtime_ns, ctime_ns, inode), digest)
            except (sqlite3.Error, ValueError, TypeError) as error:
                self._give_up(error)
        return known

    def put(self, rows: Iterable[tuple[str, _State, bytes]]) -> None:
        """Remember digests."""
        if self._table is None:
            return
        values = [(os.fsencode(name), *state, digest) for name, state, digest in rows]
        if not values:
            return
        try:
            with self._table:
                self._table.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?)", values)
        except (sqlite3.Error, OverflowError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        assert self._table is not None and self._path is not None
        self._table.close()
        self._table = None
        if not isinstance(error, sqlite3.OperationalError):  # neither busy nor full, but damaged: begin anew next time
            with suppress(OSError):
                self._path.unlink()


def _open(path: Path) -> sqlite3.Connection | None:
    for _ in range(2):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            table = sqlite3.connect(path, timeout=_PATIENCE_SECONDS)
            try:
                if _version(table) != _TABLE_VERSION:
                    with table:
                        table.execute("BEGIN IMMEDIATE")  # one process makes it, others wait
                        if _version(table) != _TABLE_VERSION:
                            table.execute("DROP TABLE IF EXISTS digests")
                            table.execute(_TABLE)
                            table.execute(f"PRAGMA user_version = {_TABLE_VERSION}")
                return table
            except BaseException:
                table.close()
                raise
        except (sqlite3.OperationalError, OSError):
            return None
        except sqlite3.DatabaseError:
            with suppress(OSError):
                path.unlink()
    return None


def _version(table: sqlite3.Connection) -> int:
    return int(table.execute("PRAGMA user_version").fetchone()[0])
