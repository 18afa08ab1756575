"""The matrix of an embedding store as a file: .npy or .safetensors, written row after row and memory-mapped."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import IO, Literal, TypeAlias

import numpy as np

from byol_a.errors import ByolaError

MatrixFormat: TypeAlias = Literal["npy", "safetensors"]

COPY_BYTES = 16 << 20


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


def copy_rows(matrix: np.ndarray, stream: IO[bytes]) -> None:
    """Append the rows of a matrix (N, D) to a stream, in bounded memory."""
    step = max(1, COPY_BYTES // max(1, 4 * matrix.shape[1]))
    for start in range(0, len(matrix), step):
        stream.write(np.ascontiguousarray(matrix[start : start + step]).data)


def _has_rows(path: Path) -> bool:
    with path.open("rb") as stream:
        np.lib.format.read_magic(stream)
        shape, _, _ = np.lib.format.read_array_header_1_0(stream)
    return math.prod(shape) > 0  # an empty file region cannot be mapped
