"""What turns audio into rows: the interface of models, statistics and encoders of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from byol_a.errors import AudioError
from downstream.features.request import EmbeddingRequest
from downstream.tasks.base import Clip

if TYPE_CHECKING:
    from byol_a.frontend import LogMel


@dataclass(frozen=True, slots=True)
class Piece:
    """A clip to embed, and its index in the task, which places a random cut."""

    index: int
    clip: Clip


Row: TypeAlias = "np.ndarray | AudioError"
"""An embedding (D,) float32, or why there is none."""


class Features(Protocol):
    """Clips to embeddings."""

    @property
    def name(self) -> str:
        """What it is called in tables and score rows."""

    @property
    def sample_rate(self) -> int:
        """Of the audio it takes, in Hz."""

    @property
    def frontend(self) -> LogMel | None:
        """What makes the log-mels that a request's `stats` normalise; None where there are none to normalise."""

    def fingerprint(self) -> str:
        """Digest of everything that decides the embeddings, pooling and layer included."""

    def extract(self, pieces: Sequence[Piece], request: EmbeddingRequest) -> Iterator[Row]:
        """A row for each piece, in their order. Reading runs ahead of what is asked for."""
