"""Writing an embedding store: a part at a time, joined at the end, continued after any interruption."""

from __future__ import annotations

import json
import os
import shutil
import time
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from byol_a.errors import ByolaError, UsageError
from byol_a.files import atomic_file, refuse_existing, write_json
from byol_a.matrix import COPY_BYTES, copy_rows, matrix_header, matrix_name, open_matrix
from byol_a.store import (
    BAD_FILES,
    FILES,
    FORMAT,
    FORMAT_VERSION,
    PROVENANCE,
    ROWS,
    SCHEMA,
    EmbeddingStore,
    read_provenance,
    read_store,
)

PARTS, LOCK = "parts", ".lock"
EXPORTS = ("embeddings.csv", "embeddings.npz")
MATRICES = ("embeddings.npy", "embeddings.safetensors")
FILES_SCHEMA = pa.schema([("file", pa.string()), ("size", pa.int64()), ("mtime_ns", pa.int64())])
PART_SECONDS, PART_BYTES = 20.0, 256 << 20  # a part is closed after this much work

Piece: TypeAlias = "tuple[np.ndarray, np.ndarray, np.ndarray]"
"""Consecutive rows of one file: start_s (n,), end_s (n,), embeddings (n, D)."""


class Stamp(NamedTuple):
    """What tells whether a file is still the one that was embedded: its size in bytes, when it was last changed."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """The stamp of a file as it is now."""
        try:
            status = path.stat()
        except OSError:
            return cls(-1, -1)  # gone meanwhile: reading it will say so
        return cls(status.st_size, status.st_mtime_ns)


class StoreWriter:
    """Adds files to a store, so that a kill at any moment loses at most the part being written.

    A context manager: leaving it commits what was added, and lets other processes write to the store.

    Args:
        path: the store; continued if it is there and was made with the same settings.
        settings: everything that makes embeddings comparable; JSON of one level. `settings["format"]` is the
            matrix's.
        about: more for provenance.json.
        embedding_dim: D.
        overwrite: start anew instead of continuing.

    Raises:
        UsageError: if there is something else at `path`, a store with other settings, or one that another
            process is writing.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        settings: dict[str, Any],
        about: dict[str, Any],
        embedding_dim: int,
        overwrite: bool = False,
    ) -> None:
        self.folder, self.settings, self.about = Path(path), settings, about
        self._dim = embedding_dim
        self._matrix = self.folder / matrix_name(settings["format"])
        self._parts = self.folder / PARTS
        self._lock: IO[bytes] | None = None
        try:
            self._open_or_create(overwrite)
            self._base_rows = pq.read_metadata(self.folder / ROWS).num_rows if (self.folder / ROWS).exists() else 0
            self.done = self._recover()
        except BaseException:
            self._unlock()
            raise
        # One growing array for all rows of the part: small objects kept alive between the large arrays that come
        # and go would split the heap, which then grows with the length of a file.
        self._spans = array("d")  # start_s, end_s, start_s, end_s ...
        self._files: list[tuple[str, int]] = []  # file, number of its rows
        self._stamps: list[Stamp] = []  # one for each of these files
        self._raw: IO[bytes] | None = None
        self._began = 0.0

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.commit()  # an interrupt loses nothing that was embedded
        finally:
            self._unlock()

    def add(self, file: str, stamp: Stamp, pieces: Iterable[Piece]) -> None:
        """Append the rows of a file, a piece at a time; all of them or, on any error, none."""
        if self._raw is None:
            self._raw = (self._parts / "open").open("wb")
            self._began = time.monotonic()
        position, n_before = self._raw.tell(), len(self._spans)
        try:
            for start_s, end_s, embeddings in pieces:
                self._raw.write(np.ascontiguousarray(embeddings, dtype="<f4").data)
                self._spans.frombytes(np.stack([start_s, end_s], axis=1).tobytes())
        except BaseException:
            self._raw.seek(position)
            self._raw.truncate()
            del self._spans[n_before:]
            raise
        self._files.append((file, (len(self._spans) - n_before) // 2))
        self._stamps.append(stamp)
        self.done[file] = stamp
        if time.monotonic() - self._began > PART_SECONDS or self._raw.tell() > PART_BYTES:
            self.commit()

    def commit(self) -> None:
        """Make what was added so far a part on disk."""
        if self._raw is None:
            return
        with self._raw:
            self._raw.flush()
            os.fsync(self._raw.fileno())
        self._raw = None
        if self._files:
            number = 1 + max((int(table.stem) for table in self._parts.glob("*.parquet")), default=-1)
            (self._parts / "open").replace(self._parts / f"{number:06d}.f32")
            # The table comes last: where it is, the part is whole.
            with atomic_file(self._parts / f"{number:06d}.parquet") as partial:
                pq.write_table(self._table(), partial)
            self._spans, self._files, self._stamps = array("d"), [], []

    def _table(self) -> pa.Table:
        names, n_rows = zip(*self._files, strict=True)
        files = pa.array(names, pa.string()).take(pa.array(np.repeat(np.arange(len(names)), n_rows)))
        start_s, end_s = np.frombuffer(self._spans).reshape(-1, 2).T
        table = pa.table([files, start_s.copy(), end_s.copy()], schema=SCHEMA)
        # The stamps travel in the same file as the rows, so that a part has both or neither.
        stamps = json.dumps([[name, *stamp] for name, stamp in zip(names, self._stamps, strict=True)])
        return table.replace_schema_metadata({"stamps": stamps})

    def finish(self, bad_files: int, changed_files: int = 0) -> EmbeddingStore:
        """Join the parts to the tables and the matrix, in bounded memory; exports made of less are removed.

        At each moment the store can be continued: the old rows are a prefix of the new matrix, and parts
        whose files are in the new table are known to have been joined.
        """
        self.commit()
        tables = sorted(self._parts.glob("*.parquet"))
        n_rows = self._base_rows + sum(pq.read_metadata(table).num_rows for table in tables)
        if tables or not (self.folder / ROWS).exists():
            for name in EXPORTS:
                (self.folder / name).unlink(missing_ok=True)
            with atomic_file(self.folder / FILES) as partial:
                pq.write_table(_stamp_table(self.done), partial)
            with atomic_file(self._matrix) as partial, partial.open("wb") as matrix:
                matrix.write(matrix_header(self.settings["format"], n_rows, self._dim))
                if self._base_rows:
                    copy_rows(open_matrix(self._matrix)[: self._base_rows], matrix)
                for table in tables:
                    with table.with_suffix(".f32").open("rb") as part:
                        shutil.copyfileobj(part, matrix, COPY_BYTES)
            with atomic_file(self.folder / ROWS) as partial, pq.ParquetWriter(partial, SCHEMA) as writer:
                for source in [self.folder / ROWS] * bool(self._base_rows) + tables:
                    for batch in pq.ParquetFile(source).iter_batches():
                        writer.write_batch(batch.replace_schema_metadata(None))
        counts = {"files": len(self.done), "rows": n_rows, "bad_files": bad_files, "changed_files": changed_files}
        self._write_provenance(counts)
        shutil.rmtree(self._parts)
        return read_store(self.folder)

    def _open_or_create(self, overwrite: bool) -> None:
        if not (self.folder / PROVENANCE).is_file() and not _only_leftovers(self.folder):
            if overwrite:
                raise UsageError(f"{self.folder} is not an embedding store, so --overwrite does not replace it")
            refuse_existing(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        if (self.folder / PROVENANCE).is_file():
            made_with = read_provenance(self.folder)["settings"]
            if overwrite:
                _clear(self.folder)
                self._write_provenance(None)
            else:
                self._refuse_other(made_with)
        else:
            self._write_provenance(None)  # first of all: it tells the next run whose folder this is
        self._parts.mkdir(exist_ok=True)

    def _take_lock(self) -> None:
        """Keep other processes from writing to the store; the lock goes with the process, however that ends."""
        try:
            import fcntl
        except ImportError:  # Windows
            return
        self._lock = (self.folder / LOCK).open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another process is writing to the store {self.folder}; wait until it has ended, or choose "
                f"another --out"
            ) from error
        except OSError:
            return  # a file system without locks

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _refuse_other(self, made_with: dict[str, Any]) -> None:
        for name, value in self.settings.items():
            if made_with.get(name) != value:
                raise UsageError(
                    f"the store {self.folder} was made with another {name.replace('_', ' ')} "
                    f"({made_with.get(name)}, not {value}); choose another --out, or pass --overwrite to "
                    f"start it anew"
                )

    def _recover(self) -> dict[str, Stamp]:
        """Drop what a killed run left half done; the files that are in the store already, as they were then."""
        joined = _files_in(self.folder / ROWS) if self._base_rows else set()
        stamps = _read_stamps(self.folder / FILES) if joined else {}
        # files.parquet is written first: until their rows are joined too, files in it stand in a part.
        done = {file: stamps[file] for file in stamps if file in joined}
        for path in self.folder.glob(".*.partial"):
            path.unlink()
        for path in self._parts.iterdir():
            unfinished = path.suffix != ".parquet" and not path.with_suffix(".parquet").exists()
            if path.name.startswith(".") or unfinished:
                path.unlink()
        for table in sorted(self._parts.glob("*.parquet")):
            stamps = _part_stamps(table)
            if stamps.keys() <= joined:
                table.unlink()
                table.with_suffix(".f32").unlink(missing_ok=True)
            done |= stamps
        return done

    def _write_provenance(self, counts: dict[str, int] | None) -> None:
        head = {"format": FORMAT, "format_version": FORMAT_VERSION}
        write_json(
            self.folder / PROVENANCE,
            {**head, "settings": self.settings, "embedding_dim": self._dim, "counts": counts, **self.about},
        )


def _files_in(table: Path) -> set[str]:
    column = pq.read_table(table, columns=["file"], read_dictionary=["file"])["file"]
    return set(column.unique().to_pylist())


def _stamp_table(done: Mapping[str, Stamp]) -> pa.Table:
    sizes, times = [stamp.size for stamp in done.values()], [stamp.mtime_ns for stamp in done.values()]
    return pa.table([list(done), sizes, times], schema=FILES_SCHEMA)


def _read_stamps(path: Path) -> dict[str, Stamp]:
    try:
        columns = pq.read_table(path).to_pydict()
    except (OSError, pa.ArrowInvalid) as error:
        raise ByolaError(f"{path} is missing or damaged; make the store anew with --overwrite") from error
    return {file: Stamp(size, time) for file, size, time in zip(*columns.values(), strict=True)}


def _part_stamps(table: Path) -> dict[str, Stamp]:
    entries = json.loads(pq.read_schema(table).metadata[b"stamps"])
    return {file: Stamp(size, time) for file, size, time in entries}


def _only_leftovers(folder: Path) -> bool:
    """Whether nothing is at `folder`, or what a run killed while it made the store may have left there."""
    if not folder.exists():
        return True
    return folder.is_dir() and all(
        path.name == LOCK
        or (path.name.startswith(f".{PROVENANCE}.") and path.suffix == ".partial")
        or (path.name == PARTS and path.is_dir() and not any(path.iterdir()))
        for path in folder.iterdir()
    )


def _clear(folder: Path) -> None:
    """Remove what a store consists of but its provenance, so that a kill in between leaves a store."""
    for name in (ROWS, FILES, BAD_FILES, *MATRICES, *EXPORTS):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / PARTS, ignore_errors=True)
