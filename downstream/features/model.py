"""Clip embeddings of a model, pooled over time and taken from a layer as one chooses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from byol_a.errors import AudioError, UsageError
from byol_a.pooling import Pooling, check_pooling
from downstream.features.base import Piece, Row
from downstream.features.request import EmbeddingRequest

if TYPE_CHECKING:
    from byol_a import BYOLA
    from byol_a.frontend import LogMel
    from byol_a.inputs import Loaded

Layer: TypeAlias = "int | Literal['all'] | None"


class ModelFeatures:
    """Clip embeddings of a `BYOLA`, whose weights must stay as they are.

    Args:
        name: what the model is called.
        batch_size: the most clips in one pass.
        device: moves the model there first; None leaves it where it is.
        pooling: of frames over time; "mean+max" is the sum of both, "model" what the encoder does by itself.
        layer: None for the clip embedding; the number of a layer, from 0; "all" for all of them, one after the other.
        samples: of variational weights, whose mean embedding is taken; None takes that of the weights' means.

    Raises:
        UsageError: for a pooling or a layer that there is not; for samples of weights that have no deviation.
    """

    def __init__(
        self,
        name: str,
        model: BYOLA,
        batch_size: int = 32,
        device: str | None = None,
        pooling: Pooling = "model",
        layer: Layer = None,
        samples: int | None = None,
    ) -> None:
        from byol_a.uncertainty import check_samples

        check_pooling(pooling)
        check_samples(model, samples)
        n_layers = len(model.encoder.layer_strides)
        if layer is not None and layer != "all" and not (isinstance(layer, int) and 0 <= layer < n_layers):
            raise UsageError(f"{name} has the layers 0 to {n_layers - 1}, and all; there is no layer {layer}")
        self.name, self.model, self.batch_size, self.device = name, model, batch_size, device
        self.pooling: Pooling = pooling
        self.layer, self.samples = layer, samples

    @property
    def sample_rate(self) -> int:
        return self.model.sample_rate

    @property
    def frontend(self) -> LogMel:
        return self.model.frontend

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        model = self.model.fingerprint()
        if self.pooling == "model" and self.layer is None and self.samples is None:
            return model
        reading = f"{model} {self.pooling} {self.layer}"
        reading += "" if self.samples is None else f" {self.samples} samples"
        return hashlib.blake2b(reading.encode(), digest_size=16).hexdigest()

    def extract(self, pieces: Sequence[Piece], request: EmbeddingRequest) -> Iterator[Row]:
        from byol_a import NormStats
        from byol_a.encoding import encode_each

        model = self.model if self.device is None else self.model.to(self.device)
        if request.stats is not None:
            model = model.with_normalization(NormStats(*request.stats))
        level: Literal["clip", "layers"] = "clip" if self.layer is None else "layers"
        encoded = encode_each(
            model,
            lambda piece: self.read(piece, request),
            pieces,
            level,
            self.batch_size,
            pooling=self.pooling,
            samples=self.samples,
        )
        for _, rows in encoded:
            yield rows if isinstance(rows, AudioError) else self._choose(rows)

    def read(self, piece: Piece, request: EmbeddingRequest) -> Loaded:
        """The audio of a clip, called by threads that read ahead."""
        from downstream.features.cuts import read_piece

        return read_piece(piece, request, self.sample_rate)

    def _choose(self, rows: list[np.ndarray]) -> np.ndarray:
        if self.samples is not None:
            rows = [mean for mean, _ in rows]
        if self.layer == "all":
            return np.concatenate(rows, dtype=np.float32)
        return np.asarray(rows[self.layer or 0], dtype=np.float32)
