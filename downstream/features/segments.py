"""A segment: the embeddings of some clips in one file, with what each was made from; mapped, not read."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from byol_a.files import atomic_file

FORMAT = "byol-a-rows-1"
KEY_BYTES = 16
KEY = np.dtype(f"S{KEY_BYTES}")  # compares as bytes: fixed length, so that trailing zeros do not matter
NO_KEY = np.zeros(1, KEY)[0]
"""The key of a row that stands for a clip which may be usable another time."""

_ALIGNMENT = 64
_LENGTH_BYTES = 8
_LONGEST_HEADER = 1 << 28


@dataclass(frozen=True)
class Segment:
    """Rows of embeddings.

    Attributes:
        keys: (n,) what each row was made from, as `KEY`.
        matrix: (n, D) float32; NaN for clips that cannot be used.
        reasons: why not, by row.
        path: its file; None if it is in memory.
    """

    keys: np.ndarray
    matrix: np.ndarray
    reasons: dict[int, str] = field(default_factory=dict)
    path: Path | None = None


def segment_name(keys: np.ndarray) -> str:
    """The name of the file of these rows: whoever writes the same rows writes the same file."""
    return f"{hashlib.blake2b(keys.tobytes(), digest_size=16).hexdigest()}.rows"


def write_segment(
    path: Path, keys: np.ndarray, blocks: Iterable[np.ndarray], dim: int, reasons: dict[int, str]
) -> Segment:
    """Write rows (n, D), which come in blocks (b, D), atomically and in the memory of one block.

    Raises:
        OSError: if they cannot be written; nothing is left then.
    """
    # A file that was not touched since has the time it is given here, of a whole even second, which any file
    # system can hold: only others need to be read to know whether they are damaged.
    stamp = int(time.time()) // 2 * 2
    about = {
        "format": FORMAT,
        "rows": len(keys),
        "dim": dim,
        "stamp": stamp,
        "reasons": {str(row): reason for row, reason in reasons.items()},
    }
    digest = hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16)
    with atomic_file(path) as temporary:
        with temporary.open("wb") as stream:
            stream.write(_header(about, "0" * 32))
            key_bytes = keys.tobytes()
            key_bytes += bytes(-len(key_bytes) % _ALIGNMENT)
            stream.write(key_bytes)
            digest.update(key_bytes)
            for block in blocks:
                data = np.ascontiguousarray(block, dtype="<f4").data.cast("B") if block.size else b""
                stream.write(data)
                digest.update(data)
            stream.seek(0)
            stream.write(_header(about, digest.hexdigest()))
        os.utime(temporary, (stamp, stamp))
    segment = read_segment(path)
    if segment is None:
        raise OSError(0, "what was written could not be read back", str(path))
    return segment


def read_segment(path: Path) -> Segment | None:
    """The segment in a file, its matrix mapped into memory; None, and no file any more, if it is damaged."""
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
            if length > _LONGEST_HEADER:
                raise ValueError("no header")
            about = json.loads(stream.read(length))
            if about.get("format") != FORMAT:
                raise ValueError("no segment")
            checksum = about.pop("checksum")
            rows, dim = int(about["rows"]), int(about["dim"])
            if rows < 0 or dim < 0:
                raise ValueError("no sizes")
            begin = stream.tell()
            key_bytes = -(-rows * KEY_BYTES // _ALIGNMENT) * _ALIGNMENT
            state = os.fstat(stream.fileno())
            if state.st_size != begin + key_bytes + 4 * rows * dim:
                raise ValueError("it is cut short")
            keys = np.frombuffer(stream.read(key_bytes), KEY, count=rows)
            if state.st_mtime_ns != about["stamp"] * 1_000_000_000:
                stream.seek(begin)
                digest = hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16)
                while block := stream.read(1 << 22):
                    digest.update(block)
                if digest.hexdigest() != checksum:
                    raise ValueError("its numbers have changed")
                with suppress(OSError):  # somebody else's file
                    os.utime(path, (about["stamp"], about["stamp"]))
        shape = (rows, dim)
        matrix: np.ndarray = np.zeros(shape, np.float32)
        if rows * dim:  # an empty region cannot be mapped
            matrix = np.memmap(path, dtype="<f4", mode="r", offset=begin + key_bytes, shape=shape)
        return Segment(keys, matrix, {int(row): str(reason) for row, reason in about["reasons"].items()}, path)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        with suppress(OSError):
            path.unlink()
        return None
    except OSError:  # removed meanwhile by who joined it with others, or not for us to read
        return None


def _header(about: dict[str, object], checksum: str) -> bytes:
    text = json.dumps(about | {"checksum": checksum}).encode()
    text += b" " * (-(len(text) + _LENGTH_BYTES) % _ALIGNMENT)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text
