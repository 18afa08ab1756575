"""An embedding store: a folder with one row per clip, window or frame, and the matrix beside it.

STORE/rows.parquet       file, start_s, end_s
STORE/embeddings.npy     float32 (N, D), or embeddings.safetensors; row i belongs to row i of the table
STORE/provenance.json    what made it: model, level, window, versions, counts
STORE/bad_files.csv      files that could not be used, and why
STORE/parts/             work not yet joined to the above
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from byol_a.errors import ByolaError, UsageError, require
from byol_a.files import atomic_file, refuse_existing, write_json

FORMAT, FORMAT_VERSION = "byol-a-store", 1
ROWS, PROVENANCE, PARTS, BAD_FILES = "rows.parquet", "provenance.json", "parts", "bad_files.csv"
SCHEMA = pa.schema([("file", pa.string()), ("start_s", pa.float64()), ("end_s", pa.float64())])
PART_SECONDS, PART_BYTES = 20.0, 256 << 20  # a part is closed after this much work
COPY_BYTES = 16 << 20

MatrixFormat: TypeAlias = Literal["npy", "safetensors"]
Piece: TypeAlias = "tuple[np.ndarray, np.ndarray, np.ndarray]"
"""Consecutive rows of one file: start_s (n,), end_s (n,), embeddings (n, D)."""


@dataclass(frozen=True)
class EmbeddingStore:
    """A finished store.

    Attributes:
        rows: table of N rows with the columns `file`, `start_s` and `end_s` (seconds).
        embeddings: (N, D) float32, memory-mapped: only what is used is read.
        provenance: the content of provenance.json.
    """

    rows: pa.Table
    embeddings: np.ndarray
    provenance: dict[str, Any]

    def to_pandas(self) -> Any:
        """The rows as a pandas DataFrame (needs pandas)."""
        require("pandas", "a DataFrame of the rows")
        return self.rows.to_pandas()

    def __len__(self) -> int:
        return self.rows.num_rows


def read_store(path: str | os.PathLike[str]) -> EmbeddingStore:
    """Open a store that `byol-a embed` has made.

    Raises:
        UsageError: if there is no store at `path`, or it is not finished.
        ByolaError: if its files do not fit together.
    """
    folder = Path(path)
    provenance = read_provenance(folder)
    matrix_path = folder / matrix_name(provenance["settings"]["format"])
    if not (folder / ROWS).is_file() or not matrix_path.is_file():
        raise UsageError(f"the store {folder} is not finished; run the same byol-a embed again to go on")
    # Few distinct names, many rows: as a dictionary the column stays small.
    rows = pq.read_table(folder / ROWS, read_dictionary=["file"]).unify_dictionaries().combine_chunks()
    embeddings = _open_matrix(matrix_path)
    if len(embeddings) != rows.num_rows:
        raise ByolaError(
            f"the store {folder} has {rows.num_rows} rows but {len(embeddings)} embeddings; an embed was "
            f"stopped while joining its parts: run the same byol-a embed again"
        )
    return EmbeddingStore(rows, embeddings, provenance)


def read_provenance(folder: Path) -> dict[str, Any]:
    """provenance.json of a store; `UsageError` where there is none."""
    try:
        provenance = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        version = provenance["format_version"] if provenance["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder} is not an embedding store: it has no valid {PROVENANCE}") from error
    if version != FORMAT_VERSION:
        raise UsageError(
            f"the store {folder} has format version {version}, and this byol-a reads version {FORMAT_VERSION}"
        )
    return provenance


class StoreWriter:
    """Adds files to a store, so that a kill at any moment loses at most the part being written.

    Args:
        path: the store; continued if it is there and was made with the same settings.
        settings: everything that makes embeddings comparable; JSON of one level. `settings["format"]` is the
            matrix's.
        about: more for provenance.json.
        embedding_dim: D.
        overwrite: start anew instead of continuing.

    Raises:
        UsageError: if there is something else at `path`, or a store with other settings.
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
        self._open_or_create(overwrite)
        self._base_rows = pq.read_metadata(self.folder / ROWS).num_rows if (self.folder / ROWS).exists() else 0
        self.done = self._recover()
        # One growing array for all rows of the part: small objects kept alive between the large arrays that come
        # and go would split the heap, which then grows with the length of a file.
        self._spans = array("d")  # start_s, end_s, start_s, end_s ...
        self._files: list[tuple[str, int]] = []  # file, number of its rows
        self._raw: IO[bytes] | None = None
        self._began = 0.0

    def add(self, file: str, pieces: Iterable[Piece]) -> None:
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
        self.done.add(file)
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
            self._spans, self._files = array("d"), []

    def _table(self) -> pa.Table:
        names, n_rows = zip(*self._files, strict=True)
        files = pa.array(names, pa.string()).take(pa.array(np.repeat(np.arange(len(names)), n_rows)))
        start_s, end_s = np.frombuffer(self._spans).reshape(-1, 2).T
        return pa.table([files, start_s.copy(), end_s.copy()], schema=SCHEMA)

    def finish(self, bad_files: int) -> EmbeddingStore:
        """Join the parts to the table and the matrix, in bounded memory.

        At each moment the store can be continued: the old rows are a prefix of the new matrix, and parts
        whose files are in the new table are known to have been joined.
        """
        self.commit()
        tables = sorted(self._parts.glob("*.parquet"))
        n_rows = self._base_rows + sum(pq.read_metadata(table).num_rows for table in tables)
        if tables or not (self.folder / ROWS).exists():
            with atomic_file(self._matrix) as partial, partial.open("wb") as matrix:
                matrix.write(_matrix_header(self.settings["format"], n_rows, self._dim))
                if self._base_rows:
                    _copy_rows(_open_matrix(self._matrix)[: self._base_rows], matrix)
                for table in tables:
                    with table.with_suffix(".f32").open("rb") as part:
                        shutil.copyfileobj(part, matrix, COPY_BYTES)
            with atomic_file(self.folder / ROWS) as partial, pq.ParquetWriter(partial, SCHEMA) as writer:
                for source in [self.folder / ROWS] * bool(self._base_rows) + tables:
                    for batch in pq.ParquetFile(source).iter_batches():
                        writer.write_batch(batch)
        counts = {"files": len(self.done), "rows": n_rows, "bad_files": bad_files}
        self._write_provenance(counts)
        shutil.rmtree(self._parts)
        return read_store(self.folder)

    def _open_or_create(self, overwrite: bool) -> None:
        if (self.folder / PROVENANCE).is_file():
            made_with = read_provenance(self.folder)["settings"]
            if overwrite:
                shutil.rmtree(self.folder)
            else:
                self._refuse_other(made_with)
        else:
            refuse_existing(self.folder)  # whatever it is, it is no store: never replace it
        self._parts.mkdir(parents=True, exist_ok=True)
        if not (self.folder / PROVENANCE).is_file():
            self._write_provenance(None)

    def _refuse_other(self, made_with: dict[str, Any]) -> None:
        for name, value in self.settings.items():
            if made_with.get(name) != value:
                raise UsageError(
                    f"the store {self.folder} was made with another {name.replace('_', ' ')} "
                    f"({made_with.get(name)}, not {value}); choose another --out, or pass --overwrite to "
                    f"start it anew"
                )

    def _recover(self) -> set[str]:
        """Drop what a killed run left half done; the files that are in the store already."""
        done = _files_in(self.folder / ROWS) if self._base_rows else set()
        for path in self.folder.glob(".*.partial"):
            path.unlink()
        for path in self._parts.iterdir():
            unfinished = path.suffix != ".parquet" and not path.with_suffix(".parquet").exists()
            if path.name.startswith(".") or unfinished:
                path.unlink()
        joined = set(done)
        for table in sorted(self._parts.glob("*.parquet")):
            files = _files_in(table)
            if files <= joined:
                table.unlink()
                table.with_suffix(".f32").unlink(missing_ok=True)
            done |= files
        return done

    def _write_provenance(self, counts: dict[str, int] | None) -> None:
        head = {"format": FORMAT, "format_version": FORMAT_VERSION}
        write_json(
            self.folder / PROVENANCE,
            {**head, "settings": self.settings, "embedding_dim": self._dim, "counts": counts, **self.about},
        )


def matrix_name(matrix_format: MatrixFormat) -> str:
    """File name of the matrix in a store."""
    return f"embeddings.{matrix_format}"


def export_store(store: EmbeddingStore, path: Path) -> None:
    """Write a store as one file: CSV (file, start_s, end_s, e0 ...) or .npz, by the suffix of `path`.

    The arrays of the .npz are `files`, `start_s`, `end_s` and `embeddings`.
    """
    with atomic_file(path) as partial:
        if path.suffix == ".npz":
            columns = {name: store.rows[name].to_numpy() for name in ("start_s", "end_s")}
            files = np.array(store.rows["file"].to_pylist(), dtype=np.str_)
            with partial.open("wb") as archive:
                np.savez(archive, files=files, embeddings=store.embeddings, **columns)
        else:
            with partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
                _write_csv(store, stream)


def _write_csv(store: EmbeddingStore, stream: IO[str]) -> None:
    import csv

    writer = csv.writer(stream)
    writer.writerow([*SCHEMA.names, *(f"e{i}" for i in range(store.embeddings.shape[1]))])
    position = 0
    for batch in store.rows.to_batches(max_chunksize=1024):
        embeddings = store.embeddings[position : position + batch.num_rows]
        position += batch.num_rows
        columns = [batch.column(name).to_pylist() for name in SCHEMA.names]
        for file, start_s, end_s, row in zip(*columns, embeddings, strict=True):
            writer.writerow([file, f"{start_s:.6f}", f"{end_s:.6f}", *(f"{value:.7g}" for value in row)])


def _files_in(table: Path) -> set[str]:
    column = pq.read_table(table, columns=["file"], read_dictionary=["file"])["file"]
    return set(column.unique().to_pylist())


def _matrix_header(matrix_format: MatrixFormat, n_rows: int, dim: int) -> bytes:
    """What stands before the numbers, so that a matrix can be written row after row."""
    if matrix_format == "npy":
        import io

        header = io.BytesIO()
        description = {"descr": "<f4", "fortran_order": False, "shape": (n_rows, dim)}
        np.lib.format.write_array_header_1_0(header, description)
        return header.getvalue()
    entry = {"dtype": "F32", "shape": [n_rows, dim], "data_offsets": [0, 4 * n_rows * dim]}
    text = json.dumps({"embeddings": entry}).encode()
    text += b" " * (-len(text) % 64)  # so that the numbers begin on a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text


def _open_matrix(path: Path) -> np.ndarray:
    """The matrix, memory-mapped."""
    try:
        if path.suffix == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False) if _has_rows(path) else np.load(path)
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            shape = tuple(json.loads(stream.read(size))["embeddings"]["shape"])
        if math.prod(shape) == 0:
            return np.zeros(shape, np.float32)
        return np.memmap(path, dtype="<f4", mode="r", offset=8 + size, shape=shape)
    except (ValueError, OSError, KeyError) as error:
        raise ByolaError(f"{path} is damaged: {error}; make the store anew with --overwrite") from error


def _has_rows(path: Path) -> bool:
    with path.open("rb") as stream:
        np.lib.format.read_magic(stream)
        shape, _, _ = np.lib.format.read_array_header_1_0(stream)
    return math.prod(shape) > 0  # an empty file region cannot be mapped


def _copy_rows(matrix: np.ndarray, stream: IO[bytes]) -> None:
    for rows in _blocks(matrix):
        stream.write(np.ascontiguousarray(rows).data)


def _blocks(matrix: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, COPY_BYTES // max(1, 4 * matrix.shape[1]))
    for start in range(0, len(matrix), step):
        yield matrix[start : start + step]
