"""Embeddings of many models of the same clips: a file is decoded once for all models, a clip embedded once a model."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from downstream.features import EmbeddingRequest, ModelFeatures, Piece
from downstream.features.base import Row

if TYPE_CHECKING:
    from byol_a import BYOLA
    from byol_a.inputs import Loaded

MOST_BYTES = 2 << 30


class SharedAudio:
    """Decoded audio of clips, kept for the next model as long as there is room for it (2 GB)."""

    def __init__(self) -> None:
        self._waves: dict[Hashable, np.ndarray] = {}
        self._bytes = 0

    def read(self, features: ModelFeatures, piece: Piece, request: EmbeddingRequest) -> Loaded:
        """What `ModelFeatures.read` of those features gives; called by threads."""
        key = (features.sample_rate, _key(piece, request))
        if (kept := self._waves.get(key)) is not None:
            return kept
        loaded = ModelFeatures.read(features, piece, request)
        if isinstance(loaded, np.ndarray) and self._bytes + loaded.nbytes <= MOST_BYTES:
            self._waves[key] = loaded
            self._bytes += loaded.nbytes
        return loaded


class ComparedFeatures(ModelFeatures):
    """A model's embeddings, kept in memory for other tasks with the same clips (two labels of one set)."""

    def __init__(self, name: str, model: BYOLA, audio: SharedAudio, device: str) -> None:
        super().__init__(name, model, device=device)
        self._audio = audio
        self._rows: dict[Hashable, Row] = {}

    def read(self, piece: Piece, request: EmbeddingRequest) -> Loaded:
        return self._audio.read(self, piece, request)

    def extract(self, pieces: Sequence[Piece], request: EmbeddingRequest) -> Iterator[Row]:
        keys = [_key(piece, request) for piece in pieces]
        missing = {key: piece for key, piece in zip(keys, pieces, strict=True) if key not in self._rows}
        made = zip(missing, super().extract(list(missing.values()), request), strict=True)
        for key in keys:
            while key not in self._rows:
                done, row = next(made)
                self._rows[done] = row
            yield self._rows[key]


def _key(piece: Piece, request: EmbeddingRequest) -> Hashable:
    """What a row is made from; the place of a random cut follows the clip's index."""
    return piece.clip.path, piece.clip.section, request, piece.index if request.cut == "random" else None
