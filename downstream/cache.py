"""Embeddings kept on disk by what they were made from: the model's content and the files' content."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from byol_a.files import atomic_file


def default_cache_folder() -> Path:
    """`byol-a` in the user's cache folder (`$XDG_CACHE_HOME`, else `~/.cache`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "byol-a" / "embeddings"


def files_fingerprint(paths: Sequence[Path]) -> str:
    """32 hexadecimal digits of the bytes of the files, in their order; their names do not matter."""
    digest = hashlib.blake2b(digest_size=16)
    with ThreadPoolExecutor() as threads:  # hashing and reading leave Python's lock
        for one in threads.map(_file_digest, paths):
            digest.update(one)
    return digest.hexdigest()


def _file_digest(path: Path) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    try:
        if not path.is_file():  # a pipe or a device would be read for ever
            return hashlib.blake2b(b"not a file", digest_size=16).digest()
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        digest.update(f"unreadable: {error.errno}".encode())
    return digest.digest()


class EmbeddingCache:
    """Matrices (N, D), with the reasons of rows that could not be made, in one folder.

    Args:
        folder: where; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def get(self, key: str, rows: int) -> tuple[np.ndarray, dict[int, str]] | None:
        """The matrix under `key` and {row: reason}; None if missing, damaged, or not of `rows` rows."""
        if self.folder is None:
            return None
        try:
            with np.load(self.folder / f"{key}.npz", allow_pickle=False) as kept:
                matrix, problems = kept["embeddings"], json.loads(str(kept["problems"]))
        except Exception:  # a zip can be damaged in many ways; all mean: make it again
            return None
        if matrix.ndim != 2 or len(matrix) != rows:
            return None
        return matrix, {int(row): reason for row, reason in problems.items()}

    def put(self, key: str, matrix: np.ndarray, problems: dict[int, str]) -> None:
        """Keep a matrix, atomically."""
        if self.folder is None:
            return
        with atomic_file(self.folder / f"{key}.npz") as temporary, temporary.open("wb") as stream:
            np.savez(stream, embeddings=matrix, problems=json.dumps(problems))
