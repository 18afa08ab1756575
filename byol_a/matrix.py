"""The matrix of an embedding store as a file: .npy or .safetensors, written row after row and memory-mapped."""

from __future__ import annotations

import io
import json
import math
import os
from pathlib import Path
from typing import IO, BinaryIO, Literal, TypeAlias, get_args

import numpy as np

from byol_a.errors import ByolaError
from byol_a.words import one_line

MatrixFormat: TypeAlias = Literal["npy", "safetensors"]
FORMATS: tuple[str, ...] = get_args(MatrixFormat)

COPY_BYTES = 16 << 20
_LONGEST_HEADER = 1 << 16  # bytes; ours has about 128


def matrix_name(matrix_format: MatrixFormat) -> str:
    """File name of the matrix in a store."""
    return f"embeddings.{matrix_format}"


def matrix_header(matrix_format: MatrixFormat, n_rows: int, dim: int) -> bytes:
    """What stands before the numbers, so that a matrix can be written row after row."""
    if matrix_format == "npy":
        header = io.BytesIO()
        description = {"descr": "<f4", "fortran_order": False, "shape": (n_rows, dim)}
        np.lib.format.write_array_header_1_0(header, description)
        return header.getvalue()
    entry = {"dtype": "F32", "shape": [n_rows, dim], "data_offsets": [0, 4 * n_rows * dim]}
    text = json.dumps({"embeddings": entry}).encode()
    text += b" " * (-len(text) % 64)  # so that the numbers begin on a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text


def open_matrix(path: Path) -> np.ndarray:
    """The matrix (N, D) float32, memory-mapped.

    Raises:
        ByolaError: if the file is damaged.
    """
    try:
        with path.open("rb") as stream:
            shape, dtype = _npy_header(stream) if path.suffix == ".npy" else _safetensors_header(stream)
            begin, size = stream.tell(), os.fstat(stream.fileno()).st_size
        if dtype != "<f4" or len(shape) != 2 or min(shape) < 0:
            raise ValueError(f"{dtype} of shape {shape} is not a matrix of float32")
        if begin + 4 * math.prod(shape) > size:
            raise ValueError(f"{size} bytes are less than a matrix of {shape[0]} x {shape[1]} needs")
    except OSError as error:
        raise ByolaError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # headers are Python or JSON: damage to one takes many forms
        reason = one_line(error)[:200]
        raise ByolaError(f"{path} is damaged: {reason}; make the store anew with --overwrite") from error
    if math.prod(shape) == 0:  # an empty file region cannot be mapped
        return np.zeros(shape, np.float32)
    return np.memmap(path, dtype="<f4", mode="r", offset=begin, shape=shape)


def _npy_header(stream: BinaryIO) -> tuple[tuple[int, ...], str]:
    np.lib.format.read_magic(stream)
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(stream)
    if by_columns:
        raise ValueError("it is stored by columns")
    return shape, dtype.str


def _safetensors_header(stream: BinaryIO) -> tuple[tuple[int, ...], str]:
    size = int.from_bytes(stream.read(8), "little")
    if size > _LONGEST_HEADER:
        raise ValueError(f"a header of {size} bytes")
    entry = json.loads(stream.read(size))["embeddings"]
    shape = tuple(entry["shape"])
    if not all(type(length) is int for length in shape):
        raise ValueError(f"the shape {shape}")
    return shape, "<f4" if entry["dtype"] == "F32" else str(entry["dtype"])


def copy_rows(matrix: np.ndarray, stream: IO[bytes]) -> None:
    """Append the rows of a matrix (N, D) to a stream, in bounded memory."""
    step = max(1, COPY_BYTES // max(1, 4 * matrix.shape[1]))
    for start in range(0, len(matrix), step):
        stream.write(np.ascontiguousarray(matrix[start : start + step]).data)
