"""Files and columns for Arrow."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

_TEXTS_IN_A_PIECE = 1 << 18  # a path has at most 4 KiB
_MOST_BYTES = (1 << 31) - 1


def arrow_file(path: str | os.PathLike[str], mode: Literal["rb", "wb"] = "rb") -> pa.OSFile:
    """Open a file for Arrow, for use in a `with` statement; raises `OSError` as `open` does.

    It goes by the bytes of its name, as Arrow takes no text that is not UTF-8. A Python file object would not do:
    Arrow's threads may still hold it when the interpreter ends, and abort the process.
    """
    return pa.OSFile(os.fsencode(path), mode)


# `pa.array` asks of whatever it is given whether it is pandas', and imports pandas for that where it is installed: a
# quarter of a second in a command that has nothing to do with it. From buffers it asks nothing.


def text_column(texts: Sequence[str]) -> pa.ChunkedArray:
    """Strings as an Arrow column, in pieces of less than the 2 GiB that one array may hold of paths."""
    pieces = [texts[start : start + _TEXTS_IN_A_PIECE] for start in range(0, len(texts), _TEXTS_IN_A_PIECE)]
    return pa.chunked_array([_text_array(piece) for piece in pieces], pa.string())


def _text_array(texts: Sequence[str]) -> pa.Array:
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)])
    assert ends[-1] <= _MOST_BYTES, "the texts of a piece are too long for one array"
    ends = ends.astype(np.int32)
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


def number_column(numbers: ArrayLike, kind: Literal["int64", "float64"]) -> pa.Array:
    """Numbers (N,) as an Arrow array with memory of its own."""
    values = np.array(numbers, dtype=kind)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])
