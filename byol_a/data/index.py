"""The index of a collection: one row for each audio file, as a Parquet table that pandas and others can read.

Two million rows open in seconds, and lie in a few flat buffers: a data worker that is forked from the process that
opened them shares their memory and copies nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from byol_a.arrow import arrow_file
from byol_a.data.tar import split_archive
from byol_a.errors import ByolaError, UsageError
from byol_a.files import atomic_file

FORMAT, FORMAT_VERSION = "byol-a-index", "1"
_NAMES = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("root", _NAMES),  # absolute folder
        ("path", pa.large_string()),  # below the root; of a tar member "shard.tar/key.flac"
        ("raw_path", pa.large_binary()),  # only where the name is not UTF-8: its bytes
        ("offset", pa.int64()),  # of a tar member: where its data begin in the tar
        ("size", pa.int64()),  # bytes of the file or member
        ("mtime_ns", pa.int64()),  # of the file or tar
        ("format", _NAMES),
        ("subtype", _NAMES),
        ("sample_rate", pa.int32()),  # Hz
        ("channels", pa.int16()),
        ("frames", pa.int64()),  # samples of each channel
        ("duration", pa.float64()),  # seconds
        ("peak", pa.float32()),  # of the mean of the channels, before clipping
        ("rms", pa.float32()),
        ("silence", pa.float32()),  # fraction of samples that are exactly zero
        ("digest", pa.binary()),  # of the decoded sound
        ("error", pa.string()),  # why it cannot be used
    ]
)
REQUIRED = ("root", "path")
# Absolute, upwards, empty or with a null byte: what may not stand below a root.
_ESCAPES = r"^/|^$|\x00|(^|/)\.\.(/|$)"


class AudioIndex:
    """An immutable table of audio files; row i is clip i of the data set.

    Args:
        table: columns of `SCHEMA`, of which only `root` and `path` must be there (`column` gives nulls for the
            others); further columns are kept.
        origin: what to call the table in an error.

    Raises:
        ByolaError: if a column has another type, or a path leads out of its root.
    """

    def __init__(self, table: pa.Table, origin: str = "the index") -> None:
        self.table = _conform(table, origin)
        self._roots, self._codes = _dictionary(self.table["root"])
        self._ends, self._names = _bytes_of(self.table["path"])
        raw = self.column("raw_path")
        self._raw: dict[int, bytes] = {}
        if raw.null_count < len(raw):
            self._raw = {int(row): raw[int(row)].as_py() for row in np.flatnonzero(pc.is_valid(raw).to_numpy())}
        self._validate(origin)

    @classmethod
    def read(cls, path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> AudioIndex:
        """Open an index.

        Args:
            path: the Parquet file.
            columns: which to read, `root`, `path` and `raw_path` always among them; all if None.

        Raises:
            UsageError: if there is no file, or one that is no index.
            ByolaError: if it is damaged.
        """
        if Path(path).exists() and not Path(path).is_file():  # a pipe would be waited for, a folder read as a whole
            raise UsageError(f"{path} is not an index of audio files: it is no file")
        try:
            with arrow_file(path) as file:
                index = cls(_read_columns(file, path, columns), str(path))
        except FileNotFoundError as error:
            raise UsageError(f"there is no index {path}; make one with `byol-a scan DIR --out INDEX`") from error
        except (pa.ArrowException, OSError, ValueError) as error:
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            raise ByolaError(f"the index {path} cannot be read ({first_line}); scan again") from error
        # What reading needed besides goes back to the system, before workers are forked.
        pa.default_memory_pool().release_unused()
        return index

    @classmethod
    def from_files(cls, files: Iterable[str | os.PathLike[str]]) -> AudioIndex:
        """An index of names and sizes alone, in the order given; no file is opened."""
        names = list(map(_absolute, map(os.fsencode, files)))
        # What the first and the last name in alphabetical order have in common, all have.
        ends = [os.path.dirname(name) for name in (min(names), max(names))] if names else [b"/"]  # noqa: PTH120
        root = text_root(os.path.commonpath(ends))
        skip = len(root.rstrip("/").encode()) + 1
        return cls(name_columns(root, [name[skip:] for name in names], [_size(name) for name in names]))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the index atomically.

        Raises:
            OSError: if there is no room or no permission.
        """
        metadata = {"format": FORMAT, "format_version": FORMAT_VERSION}
        columns = {name: self.column(name) for name in dict.fromkeys((*SCHEMA.names, *self.table.column_names))}
        with atomic_file(path) as temporary, arrow_file(temporary, "wb") as file:
            pq.write_table(pa.table(columns).replace_schema_metadata(metadata), file, compression="zstd")

    def __reduce__(self) -> tuple[type[AudioIndex], tuple[pa.Table]]:
        return AudioIndex, (self.table,)

    def __len__(self) -> int:
        return len(self._codes)

    def name(self, row: int) -> str:
        """Root and path of a row, joined."""
        return os.fsdecode(self._roots[self._codes[row]].rstrip(b"/") + b"/" + self.path_bytes(row))

    def archive(self, row: int) -> tuple[str, str]:
        """The tar archive that holds a row, and the row's name in it; for rows with an `offset` only.

        Raises:
            ByolaError: if no part of the path is the name of a tar.
        """
        parts = split_archive(self.name(row))
        if parts is None:
            raise ByolaError(f"{self.name(row)} has an offset in an archive, and its path names none; scan again")
        return parts

    def path_bytes(self, row: int) -> bytes:
        """The path of a row below its root, as the file system spells it."""
        begin = self._ends[row]
        return self._raw.get(row) or bytes(self._names[begin : self._ends[row + 1]])

    def names(self) -> list[str]:
        """`name` of every row."""
        return [self.name(row) for row in range(len(self))]

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of `SCHEMA` or of the table; nulls where the table lacks it."""
        if name in self.table.column_names:
            return self.table[name]
        return pa.chunked_array([pa.nulls(len(self), SCHEMA.field(name).type)])

    def array(self, name: str) -> np.ndarray:
        """A numeric column as a NumPy array (N,); where null, -1 for integers and NaN for floats."""
        values = self.column(name)
        if values.null_count:
            values = pc.fill_null(values, float("nan") if pa.types.is_floating(values.type) else -1)
        result: np.ndarray = values.to_numpy()
        return result

    def take(self, rows: np.ndarray) -> AudioIndex:
        """The rows of a mask (N,) or of row numbers, in that order."""
        rows = np.asarray(rows)
        table = self.table.filter(pa.array(rows)) if rows.dtype == bool else self.table.take(pa.array(rows))
        return AudioIndex(table.combine_chunks())

    def problems(self) -> list[tuple[str, str]]:
        """Name and reason of each row that cannot be used."""
        errors = self.column("error")
        rows = np.flatnonzero(pc.is_valid(errors).to_numpy())
        return [(self.name(int(row)), errors[int(row)].as_py()) for row in rows]

    @property
    def has_measurements(self) -> bool:
        """Whether the files were looked into, by a scan."""
        return "frames" in self.table.column_names and (
            len(self) == 0 or self.table["frames"].null_count < len(self) or not self.column("error").null_count
        )

    @property
    def roots(self) -> list[str]:
        """The folders that the paths are relative to."""
        return [os.fsdecode(root) for root in self._roots]

    def at_root(self, root: str | os.PathLike[str]) -> AudioIndex:
        """The same rows below another folder: the collection was moved.

        Raises:
            UsageError: if the index has several roots, or the folder's name is no text.
        """
        if len({*self._codes.tolist()}) > 1:
            raise UsageError(
                f"the index has {len(self._roots)} roots ({', '.join(self.roots[:3])} ...), so it cannot be put below "
                f"one other folder, {root}; scan the folders where they are now"
            )
        folder = os.fspath(Path(root).absolute())
        try:
            folder.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{folder!r} cannot be a root: an index holds text; give it another name") from error
        column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(self), np.int32)), [folder])
        return AudioIndex(self.table.set_column(self.table.schema.get_field_index("root"), "root", column))

    def fingerprint(self) -> str:
        """32 hexadecimal digits of paths and sizes, in order: the same list, wherever its root lies."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(np.diff(self._ends).tobytes())
        digest.update(self._names[self._ends[0] : self._ends[-1]])
        digest.update(self.array("size").astype("<i8").tobytes())
        return digest.hexdigest()

    def _validate(self, origin: str) -> None:
        hostile = pc.match_substring_regex(self.table["path"], _ESCAPES).to_numpy()
        rows = [int(row) for row in np.flatnonzero(hostile)[:1]]
        rows += [row for row, raw in self._raw.items() if _escapes(raw)][:1]
        if rows:
            raise ByolaError(
                f"{origin} has a path that leads out of its root: {self.path_bytes(rows[0])!r}; scan again"
            )
        if any(not root.startswith(b"/") or b"\0" in root for root in self._roots):
            raise ByolaError(f"{origin} has a root that is not an absolute folder; scan again")
        for column, least in (("offset", 0), ("size", 0), ("sample_rate", 1), ("channels", 1), ("frames", 1)):
            lowest = pc.min(self.column(column)).as_py()
            if lowest is not None and lowest < least:
                raise ByolaError(f"{origin} has the impossible {column} {lowest}; scan again")


def _read_columns(file: pa.OSFile, path: str | os.PathLike[str], columns: Sequence[str] | None) -> pa.Table:
    """The columns of an index that is a Parquet file with the required ones, of a format that is known."""
    there = pq.read_schema(file)
    described = (there.metadata or {}).get(b"format_version", FORMAT_VERSION.encode()).decode("ascii", "replace")
    if any(name not in there.names for name in REQUIRED):
        raise UsageError(
            f"{path} is not an index of audio files (it lacks the columns {' and '.join(REQUIRED)}); make one "
            "with `byol-a scan DIR --out INDEX`"
        )
    if described != FORMAT_VERSION:
        raise UsageError(f"{path} is an index of format {described}, and {FORMAT_VERSION} is what can be read")
    chosen = None
    if columns is not None:
        chosen = [name for name in dict.fromkeys((*REQUIRED, "raw_path", *columns)) if name in there.names]
    file.seek(0)
    return pq.read_table(file, columns=chosen)


def name_columns(root: str, paths: Sequence[bytes], sizes: Sequence[int | None]) -> pa.Table:
    """A table of names and sizes, of paths as the file system spells them, relative to `root`."""
    texts, raw = zip(*map(readable, paths), strict=True) if paths else ((), ())
    return pa.table(
        {
            "root": pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(texts), np.int32)), [root]),
            "path": pa.array(texts, pa.large_string()),
            "raw_path": pa.array(raw, pa.large_binary()),
            "size": pa.array(sizes, pa.int64()),
        }
    )


def text_root(folder: bytes) -> str:
    """The folder, or the nearest one above it whose name is text: the column `root` holds nothing else."""
    while True:
        try:
            return folder.decode("utf-8")
        except UnicodeDecodeError:
            folder = os.path.dirname(folder)  # noqa: PTH120


def readable(path: bytes) -> tuple[str, bytes | None]:
    """A path as text for the column `path`, and its bytes for `raw_path` where the text does not say them."""
    try:
        return path.decode("utf-8"), None
    except UnicodeDecodeError:
        return path.decode("utf-8", "backslashreplace"), path


def _absolute(name: bytes) -> bytes:
    """An absolute path without "..", which an index does not take, and which only the real folder tells apart."""
    name = os.path.join(os.getcwdb(), name)  # noqa: PTH109, PTH118 (bytes, and millions of them)
    if b"/../" in name:
        folder, base = os.path.split(name)
        name = os.path.join(_real_folder(folder), base)  # noqa: PTH118
    return name


@lru_cache(maxsize=1024)
def _real_folder(folder: bytes) -> bytes:
    return os.path.realpath(folder)


def _size(name: bytes) -> int | None:
    try:
        return os.stat(name).st_size  # noqa: PTH116
    except OSError:  # it went away, or cannot be looked at: its place in the list still counts
        return None


def _escapes(path: bytes) -> bool:
    return not path or path.startswith(b"/") or b"\0" in path or b".." in path.split(b"/")


def _conform(table: pa.Table, origin: str) -> pa.Table:
    """The table with its columns in the types of `SCHEMA`, in one chunk each."""
    try:
        table.validate(full=True)  # names that are not UTF-8, numbers of names that are not there
    except pa.ArrowException as error:
        raise ByolaError(f"{origin} is damaged ({str(error).splitlines()[0]}); scan again") from error
    columns = {name: table[name] for name in table.column_names}
    for field in SCHEMA:
        column = columns.pop(field.name, None)
        if column is None:
            continue
        try:
            if column.type != field.type and pa.types.is_dictionary(field.type):
                column = column.cast(pa.string()).dictionary_encode()
            column = column if column.type == field.type else column.cast(field.type)
            # Combining copies even what is one piece already.
            columns[field.name] = column if column.num_chunks == 1 else column.unify_dictionaries().combine_chunks()
        except (pa.ArrowException, ValueError) as error:
            raise ByolaError(
                f"{origin} has a column {field.name!r} of type {column.type} where {field.type} is expected; scan again"
            ) from error
    missing = [name for name in REQUIRED if columns[name].null_count]
    if missing:
        raise ByolaError(f"{origin} has rows without a {missing[0]}; scan again")
    ordered = dict.fromkeys((*(name for name in SCHEMA.names if name in columns), *columns))
    return pa.table({name: columns[name] for name in ordered})


def _dictionary(column: pa.ChunkedArray) -> tuple[list[bytes], np.ndarray]:
    """Distinct values, and for each row the number of its own."""
    if len(column) == 0:
        return [], np.zeros(0, np.int32)
    array = column.unify_dictionaries().combine_chunks()
    return [os.fsencode(value) for value in array.dictionary.to_pylist()], array.indices.to_numpy()


def _bytes_of(column: pa.ChunkedArray) -> tuple[np.ndarray, memoryview]:
    """All texts as one buffer, and the N + 1 places where they begin and end in it."""
    if len(column) == 0:
        return np.zeros(1, np.int64), memoryview(b"")
    array = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return ends, memoryview(data) if data is not None else memoryview(b"")
