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
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from byol_a.arrow import arrow_file, number_column, text_column
from byol_a.errors import ByolaError, UsageError
from byol_a.files import FULL_DISK, atomic_file, refuse_existing, write_json
from byol_a.lock import WriterLock
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
    damage_named,
    read_provenance,
    read_store,
    read_table,
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
        ByolaError: if it is damaged, or cannot be written to; also on leaving.
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
        refusal = f"another process is writing to the store {path}; wait until it has ended, or choose another --out"
        self._lock = WriterLock(self.folder / LOCK, refusal)
        self.done: dict[str, Stamp] = {}
        # One growing array for all rows of the part: small objects kept alive between the large arrays that come
        # and go would split the heap, which then grows with the length of a file.
        self._spans = array("d")  # start_s, end_s, start_s, end_s ...
        self._files: list[tuple[str, int]] = []  # file, number of its rows
        self._stamps: list[Stamp] = []  # one for each of these files
        self._raw: Any = None  # a file without a buffer
        self._began = 0.0
        try:
            self._open_or_create(overwrite)
            with damage_named(self.folder):
                self._base_rows = self._joined_rows()
                self.done = self._recover()
        except BaseException as error:
            self._lock.__exit__(None, None, None)
            if isinstance(error, OSError):
                raise _unwritable(self.folder, error, self.n_saved) from error
            raise

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failure = error
        try:
            self.commit()  # an interrupt loses nothing that was embedded
        except OSError as full:
            failure = full
        finally:
            self._lock.__exit__(None, None, None)
        if isinstance(failure, OSError):
            raise _unwritable(self.folder, failure, self.n_saved) from failure

    @property
    def n_saved(self) -> int:
        """How many files are in the store for good: all but those of the part that is being written."""
        return len(self.done) - len(self._files)

    def add(self, file: str, stamp: Stamp, pieces: Iterable[Piece]) -> None:
        """Append the rows of a file, a piece at a time; all of them or, on any error, none."""
        if self._raw is None:
            # Unbuffered: on a full disk, what could not be written must not come up again.
            self._raw = (self._parts / "open").open("wb", buffering=0)
            self._began = time.monotonic()
        position, n_before = self._raw.tell(), len(self._spans)
        try:
            for start_s, end_s, embeddings in pieces:
                _write(self._raw, np.ascontiguousarray(embeddings, dtype="<f4"))
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
        raw, self._raw = self._raw, None
        with raw:
            os.fsync(raw.fileno())
        if not self._files:
            return
        number = 1 + max((int(table.stem) for table in self._parts.glob("*.parquet")), default=-1)
        numbers = (self._parts / "open").replace(self._parts / f"{number:06d}.f32")
        full: OSError | None = None
        while self._files:
            try:
                # The table comes last: where it is, the part is whole.
                _write_table(self._table(), numbers.with_suffix(".parquet"))
                break
            except OSError as error:
                if error.errno not in FULL_DISK:
                    raise
                full = error
                self._give_up_last_file(numbers)
        self._spans, self._files, self._stamps = array("d"), [], []
        if full is not None:
            raise full

    def _give_up_last_file(self, numbers: Path) -> None:
        """Make room for the table of the others in a part."""
        name, n_rows = self._files.pop()
        self._stamps.pop()
        del self.done[name], self._spans[len(self._spans) - 2 * n_rows :]
        os.truncate(numbers, 2 * len(self._spans) * self._dim)  # a row has two times, and 4 bytes for each of D

    def _table(self) -> pa.Table:
        names, n_rows = zip(*self._files, strict=True)
        files = text_column(names).take(number_column(np.repeat(np.arange(len(names)), n_rows), "int64"))
        times = [number_column(column, "float64") for column in np.frombuffer(self._spans).reshape(-1, 2).T]
        table = pa.table([files, *times], schema=SCHEMA)
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
        n_rows = self._base_rows + sum(map(_count_rows, tables))
        if tables or not (self.folder / ROWS).exists():
            for name in EXPORTS:
                (self.folder / name).unlink(missing_ok=True)
            _write_table(_stamp_table(self.done), self.folder / FILES)
            with atomic_file(self._matrix) as partial, partial.open("wb") as matrix:
                matrix.write(matrix_header(self.settings["format"], n_rows, self._dim))
                if self._base_rows:
                    copy_rows(open_matrix(self._matrix)[: self._base_rows], matrix)
                for table in tables:
                    with table.with_suffix(".f32").open("rb") as part:
                        shutil.copyfileobj(part, matrix, COPY_BYTES)
            with damage_named(self.folder / ROWS):
                _join_tables([self.folder / ROWS] * bool(self._base_rows) + tables, self.folder / ROWS)
        counts = {"files": len(self.done), "rows": n_rows, "bad_files": bad_files, "changed_files": changed_files}
        self._write_provenance(counts)
        shutil.rmtree(self._parts)
        return read_store(self.folder)

    def _open_or_create(self, overwrite: bool) -> None:
        refuse_foreign(self.folder, overwrite)
        self._lock.__enter__()
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

    def _joined_rows(self) -> int:
        """How many rows were joined by earlier runs."""
        if not (self.folder / ROWS).exists():
            return 0
        n_rows = _count_rows(self.folder / ROWS)
        matrix = open_matrix(self._matrix)
        if len(matrix) < n_rows or matrix.shape[1] != self._dim:
            raise ByolaError(
                f"{self._matrix} has the shape {matrix.shape}, and {n_rows} rows of {self._dim} are needed; make the "
                f"store anew with --overwrite"
            )
        return n_rows

    def _refuse_other(self, made_with: dict[str, Any]) -> None:
        for name, value in self.settings.items():
            if made_with.get(name) != value:
                before, now = ("none" if one is None else one for one in (made_with.get(name), value))
                raise UsageError(
                    f"the store {self.folder} was made with another {name.replace('_', ' ')} "
                    f"({before}, not {now}); choose another --out, or pass --overwrite to start it anew"
                )

    def _recover(self) -> dict[str, Stamp]:
        """Drop what a killed run left half done; the files that are in the store already, as they were then."""
        joined = _files_in(self.folder / ROWS) if self._base_rows else set()
        stamps = _read_stamps(self.folder / FILES) if joined else {}
        # files.parquet is written first: until their rows are joined too, files in it stand in a part.
        done = {file: stamps[file] for file in stamps if file in joined}
        for path in self.folder.glob(".*.partial"):
            path.unlink()
        for path in (self._parts, *self._parts.iterdir()):
            if path.is_symlink():  # what lies elsewhere is not ours to read, and even less to clear away
                raise UsageError(f"{path} is a link, which no embed makes; remove it, or choose another --out")
        for path in self._parts.iterdir():
            is_whole = path.stem.isdigit() and path.with_suffix(".parquet").exists()
            if not is_whole:
                path.unlink()
        for table in sorted(self._parts.glob("*.parquet")):
            part = self._read_part(table)
            if part is None or part.keys() <= joined:
                table.unlink()
                table.with_suffix(".f32").unlink(missing_ok=True)
            done |= part or {}
        return done

    def _read_part(self, table: Path) -> dict[str, Stamp] | None:
        """The files of a part; None if it is damaged, so that they are embedded once more."""
        try:
            with damage_named(table):
                rows = read_table(table)
                stamps = _part_stamps(rows.schema)
                size = table.with_suffix(".f32").stat().st_size
                fits = size == 4 * len(rows) * self._dim and set(rows["file"].unique().to_pylist()) == stamps.keys()
                return stamps if fits and rows.schema.equals(SCHEMA) else None
        except (ByolaError, FileNotFoundError):
            return None

    def _write_provenance(self, counts: dict[str, int] | None) -> None:
        head = {"format": FORMAT, "format_version": FORMAT_VERSION}
        write_json(
            self.folder / PROVENANCE,
            {**head, "settings": self.settings, "embedding_dim": self._dim, "counts": counts, **self.about},
        )


def _write(file: Any, values: np.ndarray) -> None:
    """All of an array; without a buffer, a file may take less at a time."""
    left = values.reshape(-1).view(np.uint8).data
    while left:
        left = left[file.write(left) :]


def _write_table(table: pa.Table, path: Path) -> None:
    with atomic_file(path) as partial, arrow_file(partial, "wb") as file:
        pq.write_table(table, file)


def _count_rows(table: Path) -> int:
    with arrow_file(table) as file:
        n_rows: int = pq.read_metadata(file).num_rows
        return n_rows


def _join_tables(tables: Iterable[Path], path: Path) -> None:
    with atomic_file(path) as partial, arrow_file(partial, "wb") as file, pq.ParquetWriter(file, SCHEMA) as writer:
        for table in tables:
            with arrow_file(table) as source:
                for batch in pq.ParquetFile(source).iter_batches():
                    writer.write_batch(batch.replace_schema_metadata(None))


def _files_in(table: Path) -> set[str]:
    column = read_table(table, columns=["file"], read_dictionary=["file"])["file"]
    return set(column.unique().to_pylist())


def _stamp_table(done: Mapping[str, Stamp]) -> pa.Table:
    sizes, times = ([stamp[i] for stamp in done.values()] for i in range(2))
    columns = [text_column(list(done)), number_column(sizes, "int64"), number_column(times, "int64")]
    return pa.table(columns, schema=FILES_SCHEMA)


def _read_stamps(path: Path) -> dict[str, Stamp]:
    try:
        table = read_table(path).cast(FILES_SCHEMA)
        if any(column.null_count for column in table.columns):
            raise ValueError("a value is missing")
    except (OSError, ValueError, pa.ArrowNotImplementedError) as error:  # Arrow's other errors are of the first two
        raise ByolaError(f"{path} is missing or damaged; make the store anew with --overwrite") from error
    columns = table.to_pydict().values()
    return {file: Stamp(size, time) for file, size, time in zip(*columns, strict=True)}


def _part_stamps(schema: pa.Schema) -> dict[str, Stamp]:
    entries = json.loads(schema.metadata[b"stamps"])
    return {str(file): Stamp(int(size), int(time)) for file, size, time in entries}


def refuse_foreign(folder: Path, overwrite: bool) -> None:
    """Raise `UsageError` where there is something at `folder` that is no store, not even the beginning of one.

    Raises:
        ByolaError: if that cannot be told.
    """
    try:
        foreign = not (folder / PROVENANCE).is_file() and not _only_leftovers(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    if foreign:
        if overwrite:
            raise UsageError(f"{folder} is not an embedding store, so --overwrite does not replace it")
        refuse_existing(folder)


def _unwritable(folder: Path, error: OSError, n_saved: int = 0) -> ByolaError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    stays = f"; {n_saved} files are in it, and stay" if n_saved else ""
    return ByolaError(
        f"the store {folder} cannot be written to ({reason}){stays}; make room or make it "
        f"writable, and run the same byol-a embed again"
    )


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
