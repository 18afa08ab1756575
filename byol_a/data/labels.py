"""Labels of clips, from AudioSet's tables and others, and the weights that balance them."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from byol_a.data.audioset import SEGMENTS_LAYOUT, Names, find, is_segments, read_segments, wrong_line
from byol_a.errors import UsageError

# Columns that name the clip and its labels: of FSD50K, whose `mids` are AudioSet's label ids, and of anybody.
LAYOUTS = (("fname", "mids"), ("fname", "labels"), ("file_name", "label"))
_EXPECTED = f"{SEGMENTS_LAYOUT}, or a CSV table with the columns file_name,label or fname,labels were expected"
_ROWS_AT_ONCE = 100_000


@dataclass(frozen=True)
class ClipLabels:
    """Which labels which clip has, in flat arrays: clip i has `labels[ends[i] : ends[i + 1]]`.

    Attributes:
        ids: what the tables call the clips, each once: (M,).
        classes: the labels that occur.
        ends: int64 (M + 1,).
        labels: numbers of classes, ascending within a clip: int32.
    """

    ids: pa.Array
    classes: tuple[str, ...]
    ends: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, row: int) -> tuple[str, ...]:
        """The labels of clip `row` by name."""
        return tuple(self.classes[label] for label in self.labels[self.ends[row] : self.ends[row + 1]])


def read_labels(paths: Iterable[str | os.PathLike[str]]) -> ClipLabels:
    """The labels in one or several tables; a clip in several rows has the labels of all of them.

    A table is AudioSet's segments (known by its first character, #), or a CSV with a header of `LAYOUTS` whose
    cells may hold several labels, joined by commas.

    Raises:
        UsageError: if a table cannot be read or has another layout, or if there is no table.
    """
    ids: list[pa.Array] = []
    counts: list[np.ndarray] = []
    labels: list[pa.Array] = []
    for path in paths:
        parts = len(ids)
        for names, cells in _rows(path):
            lists = pc.split_pattern(cells, ",")
            texts = pc.utf8_trim_whitespace(pc.list_flatten(lists))
            named = pc.not_equal(texts, "")  # a clip without labels has one empty text
            ids.append(names.dictionary_encode())
            counts.append(np.bincount(pc.list_parent_indices(lists).filter(named), minlength=len(lists)))
            labels.append(texts.filter(named).dictionary_encode())
        if sum(map(len, counts[parts:])) == 0:
            raise UsageError(f"{path} has no rows; {_EXPECTED}")
    if not ids:
        raise UsageError(f"there are no labels to balance by; {_EXPECTED}")
    clips, clip_of_row = _encoded(ids)
    classes, codes = _encoded(labels)
    clip_of_label = np.repeat(clip_of_row, np.concatenate(counts))
    pairs = np.sort(clip_of_label * len(classes) + codes)
    pairs = pairs[np.diff(pairs, prepend=-1) != 0]  # each once
    clip_of_label, codes = np.divmod(pairs, len(classes))
    ends = np.searchsorted(clip_of_label, np.arange(len(clips) + 1))
    pa.default_memory_pool().release_unused()  # reading took several times what is kept
    return ClipLabels(clips, tuple(classes.to_pylist()), ends, codes.astype(np.int32))


def label_weights(names: Names, tables: Iterable[str | os.PathLike[str]]) -> np.ndarray:
    """Weights that balance AudioSet-like labels: a clip weighs the sum over its labels of 1000 / (n + 0.01).

    n counts the clips at hand that have the label, not those in the tables (as PANNs, arXiv 1912.10211, and AST,
    arXiv 2104.01778, do). A clip that is in no table, or has no label there, weighs 0.

    Args:
        names: paths of the clips (N,), looked up in the tables by `byol_a.data.audioset.find`.
        tables: see `read_labels`.

    Returns:
        float64 (N,).

    Raises:
        UsageError: if a table cannot be used, or no clip has a label in one.
    """
    return balanced_weights(names, read_labels(tables))


def balanced_weights(names: Names, table: ClipLabels) -> np.ndarray:
    """`label_weights`, of tables that have been read."""
    places = find(names, table.ids)
    there = np.flatnonzero(places >= 0)
    counts = np.diff(table.ends)[places[there]]
    clip_of_label = np.repeat(there, counts)
    within = np.arange(len(clip_of_label)) - np.repeat(np.cumsum(counts) - counts, counts)
    labels = table.labels[np.repeat(table.ends[places[there]], counts) + within]
    clips_with = np.bincount(labels, minlength=len(table.classes))
    weights = np.bincount(clip_of_label, weights=1000 / (clips_with[labels] + 0.01), minlength=len(places))
    if not weights.any():
        clip, row = (f"{next(iter(values), 'missing')!s}" for values in (names, table.ids))
        raise UsageError(
            f"none of the {len(places)} clips has a label in the tables, where the first clip is {clip} and the first "
            f"id {row}; a file's name must be the id, with or without extension, or hold AudioSet's YouTube id"
        )
    return weights


def _rows(path: str | os.PathLike[str]) -> Iterator[tuple[pa.Array, pa.Array]]:
    """A table, part by part: what it calls the clips, and their labels joined by commas."""
    try:
        yield from read_segments(path) if is_segments(path) else _cells(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({(error.strerror or str(error)).lower()}); {_EXPECTED}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as a CSV table ({error}); {_EXPECTED}") from error


def _cells(path: str | os.PathLike[str]) -> Iterator[tuple[pa.Array, pa.Array]]:
    """`_rows` of a CSV with a header."""
    with Path(path).open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        header = next(reader, [])
        columns = next((pair for pair in LAYOUTS if set(pair) <= set(header)), None)
        if columns is None:
            raise wrong_line(path, 1, ",".join(header), _EXPECTED)
        clip, label = map(header.index, columns)
        part: list[tuple[str, str]] = []
        for row in filter(None, reader):
            if len(row) != len(header):
                raise wrong_line(path, reader.line_num, ",".join(row), _EXPECTED)
            part.append((row[clip], row[label]))
            if len(part) == _ROWS_AT_ONCE:
                yield _columns(part)
                part = []
        yield _columns(part)


def _columns(rows: list[tuple[str, str]]) -> tuple[pa.Array, pa.Array]:
    return pa.array([clip for clip, _ in rows], pa.string()), pa.array([labels for _, labels in rows], pa.string())


def _encoded(parts: list[pa.Array]) -> tuple[pa.Array, np.ndarray]:
    """The distinct values of dictionary-encoded parts, and for each entry the number of its own: int64."""
    whole = pa.chunked_array(parts).unify_dictionaries().combine_chunks()
    return whole.dictionary, whole.indices.to_numpy().astype(np.int64)
