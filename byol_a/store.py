"""An embedding store: a folder with one row per clip, window or frame, and the matrix beside it.

STORE/rows.parquet       file, start_s, end_s
STORE/embeddings.npy     float32 (N, D), or embeddings.safetensors; row i belongs to row i of the table
STORE/provenance.json    what made it: model, level, window, versions, counts
STORE/bad_files.csv      files that could not be used, and why
STORE/files.parquet      file, size, mtime_ns: what each file was when it was embedded
STORE/parts/             work not yet joined to the above
STORE/.lock              held by the process that is writing
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from byol_a.arrow import arrow_file
from byol_a.errors import ByolaError, UsageError, require
from byol_a.files import atomic_file
from byol_a.matrix import FORMATS, matrix_name, open_matrix
from byol_a.words import one_line

FORMAT, FORMAT_VERSION = "byol-a-store", 1
ROWS, FILES, PROVENANCE, BAD_FILES = "rows.parquet", "files.parquet", "provenance.json", "bad_files.csv"
SCHEMA = pa.schema([("file", pa.string()), ("start_s", pa.float64()), ("end_s", pa.float64())])


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
    with damage_named(folder / ROWS):
        # Few distinct names, many rows: as a dictionary the column stays small.
        rows = read_table(folder / ROWS, read_dictionary=["file"]).unify_dictionaries().combine_chunks()
        if rows.schema.names != SCHEMA.names or any(column.null_count for column in rows.cast(SCHEMA).columns):
            raise ValueError(f"its columns are not {', '.join(SCHEMA.names)}, or have gaps")
    embeddings = open_matrix(matrix_path)
    if len(embeddings) != rows.num_rows:
        raise ByolaError(
            f"the store {folder} has {rows.num_rows} rows but {len(embeddings)} embeddings; an embed was "
            f"stopped while joining its parts: run the same byol-a embed again"
        )
    return EmbeddingStore(rows, embeddings, provenance)


def read_provenance(folder: Path) -> dict[str, Any]:
    """provenance.json of a store; `UsageError` where there is none."""
    try:
        if not (folder / PROVENANCE).is_file():  # none, or a pipe, which would be waited for
            raise ValueError("it is no file")
        provenance: dict[str, Any] = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        version = provenance["format_version"] if provenance["format"] == FORMAT else None
        if version == FORMAT_VERSION and provenance["settings"]["format"] not in FORMATS:
            raise ValueError("it names a file that is no matrix")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{folder} is not an embedding store: it has no valid {PROVENANCE}") from error
    if version != FORMAT_VERSION:
        raise UsageError(
            f"the store {folder} has format version {version}, and this byol-a reads version {FORMAT_VERSION}"
        )
    return provenance


def read_table(path: Path, columns: list[str] | None = None, read_dictionary: list[str] | None = None) -> pa.Table:
    """A Parquet file, every value of it checked; raises whatever Arrow does if it is damaged."""
    with arrow_file(path) as file:
        # `pq.read_table` would import Arrow's data sets first, and pandas with them.
        table = pq.ParquetFile(file, read_dictionary=read_dictionary).read(columns)
    table.validate(full=True)
    return table


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Reading a damaged table or account of a store leads to many errors: here all become one `ByolaError`."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # no damage: no permission, no room
            raise
        reason = one_line(error)[:200]
        raise ByolaError(f"{path} is damaged ({reason}); make the store anew with --overwrite") from error


def export_store(store: EmbeddingStore, path: Path) -> None:
    """Write a store as one file: CSV (file, start_s, end_s, e0 ...) or .npz, by the suffix of `path`.

    The arrays of the .npz are `files` (U,), each name once; `file_index` (N,), the place in it of each row's
    file, so that `files[file_index]` names the rows; `start_s` and `end_s` (N,); `embeddings` (N, D).
    """
    with atomic_file(path) as partial:
        if path.suffix == ".npz":
            # NumPy gives every string the room of the longest: names are kept apart from the many rows.
            file = store.rows["file"].combine_chunks().dictionary_encode()
            with partial.open("wb") as archive:
                np.savez(
                    archive,
                    files=np.array(file.dictionary.to_pylist(), dtype=np.str_),
                    file_index=file.indices.to_numpy(),
                    start_s=store.rows["start_s"].to_numpy(),
                    end_s=store.rows["end_s"].to_numpy(),
                    embeddings=store.embeddings,
                )
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
