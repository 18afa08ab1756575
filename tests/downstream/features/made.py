"""Stand-ins for encoders, whose embeddings are known beforehand, and clips for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from byol_a.errors import AudioError
from byol_a.frontend import LogMel
from downstream.features import EmbeddingRequest, Piece
from downstream.features.base import Row
from downstream.tasks.base import Clip


class FileSizes:
    """The embedding of a file is its size, and that of an empty file cannot be had."""

    name, sample_rate = "sizes", 16000
    frontend: LogMel | None = None

    def __init__(self, fingerprint: str = "f", value: float = 1.0, reason: str = "empty: no samples") -> None:
        self._fingerprint, self.value, self.reason = fingerprint, value, reason
        self.made: list[int] = []  # indices of the clips that were embedded
        self.stop_after: int | None = None

    def fingerprint(self) -> str:
        return self._fingerprint

    def extract(self, pieces: Sequence[Piece], request: EmbeddingRequest) -> Iterator[Row]:
        for piece in pieces:
            if self.stop_after is not None and len(self.made) >= self.stop_after:
                raise KeyboardInterrupt
            self.made.append(piece.index)
            size = piece.clip.path.stat().st_size if piece.clip.path.exists() else -1
            if size > 0:
                yield np.asarray([size, self.value], np.float32)
            else:
                reason = self.reason if size == 0 else "unreadable: no such file"
                yield AudioError(piece.clip.path, reason)


def files(folder: Path, sizes: Sequence[int]) -> list[Clip]:
    """Clips of files of the given sizes, each of another content."""
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for number, size in enumerate(sizes):
        path = folder / f"{number}.wav"
        path.write_bytes(str(number).encode().rjust(size, b"x")[:size])
        clips.append(Clip(path, ("a",), "train"))
    return clips
