"""AudioSet's tables and file names, and clips found in a table of ids by the name of their file.

Two million names are matched in a few seconds and kept in flat Arrow buffers, not as Python strings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from byol_a.data.formats import AUDIO_EXTENSIONS
from byol_a.errors import UsageError

Names: TypeAlias = Sequence[str] | pa.Array | pa.ChunkedArray

SEGMENTS_LAYOUT = (
    'AudioSet\'s segments (`--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"` below lines that begin with #)'
)
ID_HEADERS = frozenset(("id", "ids", "ytid", "fname", "file", "file_name", "filename", "name", "path"))

# A YouTube id is 11 characters long. Files are named by it, often with a Y before it (ids that begin with - look
# like options to programs), and often with the begin and end of the segment behind it, in seconds or milliseconds.
_ID = r"[A-Za-z0-9_-]{11}"
_CLIP_STEM = rf"^Y?(?P<id>{_ID})(?:_[0-9]+(?:\.[0-9]+)?){{0,2}}$"
_SEGMENT = rf'^(?P<id>{_ID}), *[0-9.]+, *[0-9.]+, *(?:"(?P<labels>[^"]*)"|(?P<label>[^",]*))\s*$'
_FIRST_CELL = r'(?s)^\s*(?:"(?P<quoted>[^"]*)"|(?P<bare>[^",]*?))\s*(?:,.*)?$'
_EXTENSION = r"\.[A-Za-z][A-Za-z0-9]*$"
_AUDIO_EXTENSION = rf"(?i)\.(?:{'|'.join(sorted(kind[1:] for kind in AUDIO_EXTENSIONS))})$"
_BLOCK_BYTES = 4 << 20


def clip_id(name: str) -> str | None:
    """The YouTube id in a file's name, None where there is none: `Y<id>_30.000_40.000.wav` and the like."""
    found = re.fullmatch(_CLIP_STEM, re.sub(_EXTENSION, "", name.rpartition("/")[2]))
    return found["id"] if found else None


def read_ids(path: str | os.PathLike[str]) -> pa.Array:
    """The first column of a CSV, each value once: ids, or names of files with or without folder and extension.

    Lines that begin with # are passed over, so that AudioSet's segments can be given; so is a header, known by a
    name of `ID_HEADERS` in its first cell.

    Raises:
        UsageError: if there is no such file, if it is no text, if a line does not begin with an id, or if it
            holds none.
    """
    expected = "a CSV table with an id in the first column of each line was expected"
    columns: list[pa.Array] = []
    for numbers, lines in _lines(path, expected):
        cells = _either(pc.extract_regex(lines, _FIRST_CELL), "quoted", "bare")
        bad = np.flatnonzero(pc.equal(pc.fill_null(cells, ""), "").to_numpy(zero_copy_only=False))
        if len(bad):
            raise wrong_line(path, numbers[bad[0]], lines[int(bad[0])].as_py(), expected)
        if not columns and cells[0].as_py().lower() in ID_HEADERS:
            cells = cells[1:]
        columns.append(cells)
    ids = pa.chunked_array(columns, pa.string()).unique()
    if not len(ids):
        raise UsageError(f"{path} holds no ids; {expected}")
    return ids


def match(names: Names, ids: pa.Array) -> np.ndarray:
    """Which of the clips `names` are among `ids`: bool (N,)."""
    result: np.ndarray = find(names, ids) >= 0
    return result


def find(names: Names, ids: pa.Array) -> np.ndarray:
    """The place of each clip among `ids`, int64 (N,), -1 where it is not among them.

    A clip is looked for by its path without extension, by as many of the path's last parts as the ids have, and then
    by the YouTube id in its name.

    Args:
        names: paths of audio files, "/" separated.
        ids: distinct strings, with or without an audio file's extension.
    """
    paths = _strings(names)
    ids = _strings(ids)
    if pc.any(pc.match_substring(ids, ".")).as_py():
        ids = pc.replace_substring_regex(ids, _AUDIO_EXTENSION, "")
    places = np.full(len(paths), -1, np.int64)

    def look_up(keys: pa.Array) -> None:
        found = pc.fill_null(pc.index_in(keys, value_set=ids), -1).to_numpy()
        np.copyto(places, found, where=places < 0)

    stems = pc.replace_substring_regex(paths, _EXTENSION, "")
    names_only = pc.replace_substring_regex(stems, "(?s)^.*/", "")
    for depth in sorted(pc.unique(pc.count_substring(ids, "/")).to_pylist(), reverse=True):
        if depth:
            look_up(pc.extract_regex(stems, rf"(?P<end>(?:[^/]*/){{{depth}}}[^/]*)$").field("end"))
        else:
            look_up(names_only)
    if (places < 0).any():
        look_up(pc.extract_regex(names_only, _CLIP_STEM).field("id"))
    return places


def is_segments(path: str | os.PathLike[str]) -> bool:
    """Whether a table begins as AudioSet's segments do."""
    with Path(path).open("rb") as stream:
        return stream.read(4).removeprefix(b"\xef\xbb\xbf").startswith(b"#")


def read_segments(path: str | os.PathLike[str]) -> Iterator[tuple[pa.Array, pa.Array]]:
    """A segments table, part by part: YouTube ids, and for each its label ids joined by commas.

    Raises:
        UsageError: if there is no such file, or for a line that is no segment.
    """
    expected = f"{SEGMENTS_LAYOUT} were expected"
    for numbers, lines in _lines(path, expected):
        cells = pc.extract_regex(lines, _SEGMENT)
        if cells.null_count:
            row = int(np.flatnonzero(cells.is_null().to_numpy(zero_copy_only=False))[0])
            raise wrong_line(path, numbers[row], lines[row].as_py(), expected)
        yield cells.field("id"), _either(cells, "labels", "label")


def _lines(path: str | os.PathLike[str], expected: str) -> Iterator[tuple[np.ndarray, pa.Array]]:
    """The lines of a text file in parts, with their numbers; blank ones and those that begin with # are left out."""
    number = 1
    try:
        with Path(path).open("rb") as stream:
            while lines := stream.readlines(_BLOCK_BYTES):
                if number == 1:
                    lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
                kept = [row for row, line in enumerate(lines) if not line.isspace() and not line.startswith(b"#")]
                if kept:
                    yield np.array(kept) + number, pa.array([lines[row] for row in kept], pa.string())
                number += len(lines)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({(error.strerror or str(error)).lower()}); {expected}") from error
    except pa.ArrowInvalid as error:
        raise UsageError(f"{path} is no UTF-8 text somewhere from line {number} on; {expected}") from error


def wrong_line(path: str | os.PathLike[str], number: int, line: str, expected: str) -> UsageError:
    """The error for a line of a table that is not as `expected`."""
    text = line.strip()
    return UsageError(f"{path}, line {number} is {text[:60] + ' ...' if len(text) > 60 else text!r}; {expected}")


def _either(found: pa.StructArray, one: str, other: str) -> pa.Array:
    """Of two alternative groups of an expression the one that took part in the match; Arrow gives the other as ""."""
    return pc.binary_join_element_wise(found.field(one), found.field(other), "")


def _strings(values: Names) -> pa.Array:
    """One array of strings, of a type that has room for all of them."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.Array):
        return values.cast(pa.large_string())
    return pa.array(values, pa.large_string())
