"""Which files of a list are known already, from which older index, and how two indexes differ."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from byol_a.data.index import SCHEMA, AudioIndex


class ScanPlan:
    """Where the row of each listed file comes from: the list itself, an older index, or what was just read.

    Args:
        listing: the files. Rows with an error are complete as they are.
    """

    def __init__(self, listing: AudioIndex) -> None:
        self.listing = listing
        self._tables: list[pa.Table] = []
        self._n_rows = 0
        # For each listed file its row in all the tables together, or -1.
        self._source = np.full(len(listing), -1, np.int64)
        self.take(np.flatnonzero(listing.column("error").is_valid().to_numpy()), listing)

    def take_known(self, index: AudioIndex, row: np.ndarray) -> None:
        """Take the rows of files that have not changed since `index` was made, where there is no row yet.

        Args:
            index: an index of some of the files, and perhaps others.
            row: for each listed file its row there, from `find_rows`.
        """
        known = (self._source < 0) & (row >= 0) & (self.listing.array("size") >= 0)
        known &= have_same_stamp(self.listing, index, row)
        known[known] = _is_settled(index)[row[known]]
        self.take(np.flatnonzero(known), index, row[known])

    def take(self, files: np.ndarray, index: AudioIndex, rows: np.ndarray | None = None) -> None:
        """Take `rows` of `index` for the listed `files`, both as row numbers; the rows of the same number if None."""
        self._source[files] = self._n_rows + (files if rows is None else rows)
        self._tables.append(all_columns(index))
        self._n_rows += len(index)

    def unknown(self) -> np.ndarray:
        """Row numbers of the listed files that have no row yet."""
        return np.flatnonzero(self._source < 0)

    def index(self) -> AudioIndex:
        """A row for each listed file, in their order; every one must have been taken from somewhere."""
        table = pa.concat_tables(self._tables).unify_dictionaries().take(pa.array(self._source))
        for number, field in enumerate(SCHEMA):
            if pa.types.is_dictionary(field.type):  # forget values that no row has any more
                column = table[field.name].cast(pa.string()).dictionary_encode()
                table = table.set_column(number, field, column)
        return AudioIndex(table)


def all_columns(index: AudioIndex) -> pa.Table:
    """The columns of `SCHEMA`, all of them and no others."""
    return pa.table({name: index.column(name) for name in SCHEMA.names})


def find_rows(files: AudioIndex, index: AudioIndex) -> np.ndarray:
    """For each row of `files` the row of `index` with the same name, the first if there are several, or -1."""
    rows: np.ndarray = pc.index_in(_names(files), value_set=_names(index)).fill_null(-1).to_numpy()
    return rows.astype(np.int64)


def have_same_stamp(files: AudioIndex, index: AudioIndex, row: np.ndarray) -> np.ndarray:
    """Mask (N,): the file has the size, the time of change and the place in its archive that its `row` has."""
    same = row >= 0
    for name in ("size", "mtime_ns", "offset"):
        same[same] = files.array(name)[same] == index.array(name)[row[same]]
    return same


def compare(files: AudioIndex, old: AudioIndex, row: np.ndarray) -> dict[str, int]:
    """How many files are `new`, `changed`, `unchanged`, or `gone` from the old index; `row` is from `find_rows`."""
    n_found = int(np.count_nonzero(row >= 0))
    unchanged = int(np.count_nonzero(have_same_stamp(files, old, row)))
    return {
        "new": len(row) - n_found,
        "changed": n_found - unchanged,
        "unchanged": unchanged,
        "gone": len(old) - len(np.unique(row[row >= 0])),
    }


def _names(index: AudioIndex) -> pa.Array:
    """Root and path as the bytes of the file system."""
    binary = pa.large_binary()
    paths = pc.coalesce(index.column("raw_path"), index.column("path").cast(binary))
    roots = index.column("root").cast(pa.large_string()).cast(binary)
    names = pc.binary_join_element_wise(roots, paths, pa.scalar(b"/", binary))
    return names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names


def _is_settled(index: AudioIndex) -> np.ndarray:
    """Mask (N,) of rows that another look would not change: measured, or of no use whoever reads them."""
    error, frames, digest = (index.column(name) for name in ("error", "frames", "digest"))
    unreadable = pc.starts_with(error, "unreadable").fill_null(False)
    settled = pc.or_(error.is_valid(), pc.and_(frames.is_valid(), digest.is_valid()))
    mask: np.ndarray = pc.and_not(settled, unreadable).to_numpy()
    return mask
