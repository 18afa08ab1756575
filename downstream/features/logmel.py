"""Statistics of log-mels: embeddings without any learning, and what normalises a task's log-mels."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from byol_a.errors import AudioError
from downstream.features.base import Piece, Row
from downstream.features.request import EmbeddingRequest

if TYPE_CHECKING:
    from torch import Tensor

    from byol_a.frontend import LogMel
    from byol_a.inputs import Loaded


class BinStatistics:
    """Count, mean, maximum and population variance over time of each log-mel bin, of log-mels that come in pieces.

    In float64, pieces combined as in `byol_a.normalize.StatsAccumulator`, here for each bin.
    """

    def __init__(self, n_mels: int) -> None:
        self.count = 0  # of frames
        self.highest = np.full(n_mels, -np.inf)
        self.mean, self._sum_of_squares = np.zeros(n_mels), np.zeros(n_mels)

    def update(self, logmel: Tensor) -> None:
        """Take in the next frames (F, t)."""
        piece = logmel.numpy().astype(np.float64)
        total = self.count + piece.shape[1]
        mean = piece.mean(axis=1)
        step = mean - self.mean
        self._sum_of_squares += piece.var(axis=1) * piece.shape[1] + step**2 * self.count * piece.shape[1] / total
        self.mean += step * piece.shape[1] / total
        self.highest = np.maximum(self.highest, piece.max(axis=1))
        self.count = total

    @property
    def variance(self) -> np.ndarray:
        """(F,)"""
        return self._sum_of_squares / self.count


class _FromLogMels(ABC):
    """Rows that follow from each bin's statistics over time."""

    frontend = None  # a request's statistics normalise nothing here

    def __init__(self, logmel: LogMel) -> None:
        self.logmel = logmel

    @property
    def sample_rate(self) -> int:
        return self.logmel.config.sample_rate

    def fingerprint(self) -> str:
        identity = json.dumps([self._what, 1, self.logmel.identity()], sort_keys=True)
        return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()

    def extract(self, pieces: Sequence[Piece], request: EmbeddingRequest) -> Iterator[Row]:
        from byol_a.inputs import read_ahead
        from downstream.features.cuts import read_piece

        for _, loaded in read_ahead(lambda piece: read_piece(piece, request, self.sample_rate), pieces):
            try:
                yield self._row(self._statistics(loaded)).astype(np.float32)
            except AudioError as error:
                yield error

    def _statistics(self, loaded: Loaded) -> BinStatistics:
        """Of a wave; of a long file in pieces, one by one."""
        import torch

        from byol_a.data.io import stream_audio
        from byol_a.inputs import LongFile
        from byol_a.streaming import stream_log_mels

        if isinstance(loaded, AudioError):
            raise loaded
        over_time = BinStatistics(self.logmel.config.n_mels)
        with torch.inference_mode():
            if isinstance(loaded, LongFile):
                blocks = map(torch.from_numpy, stream_audio(loaded.path, self.sample_rate))
                for logmels in stream_log_mels(blocks, self.logmel):
                    over_time.update(logmels)
            else:
                over_time.update(self.logmel(torch.from_numpy(loaded)))
        return over_time

    _what: str

    @abstractmethod
    def _row(self, over_time: BinStatistics) -> np.ndarray: ...


class LogMelStatistics(_FromLogMels):
    """Mean, maximum and standard deviation over time of each log-mel bin: D = 3 F. No learning at all."""

    name = "logmel"
    _what = "log-mel mean, max, std"

    def _row(self, over_time: BinStatistics) -> np.ndarray:
        return np.concatenate([over_time.mean, over_time.highest, np.sqrt(over_time.variance)])


class LogMelMoments(_FromLogMels):
    """Count, mean and standard deviation of all log-mel values of a clip, (3,): those of a set follow from them."""

    name = "log-mel moments"
    _what = "log-mel count, mean, std"

    def _row(self, over_time: BinStatistics) -> np.ndarray:
        mean = over_time.mean.mean()
        std = np.sqrt(over_time.variance.mean() + over_time.mean.var())
        return np.asarray([over_time.count * len(over_time.mean), mean, std])


def combine_moments(moments: np.ndarray) -> tuple[float, float]:
    """Mean and population standard deviation of all values, from `LogMelMoments` (n, 3) of disjoint clips.

    Rounded to six digits: the last ones depend on the number of threads, and so would the fingerprint of a model
    that is normalised this way.

    Raises:
        ByolaError: if all values are equal.
    """
    from byol_a.normalize import StatsAccumulator

    count, mean, std = moments.astype(np.float64).T
    overall = float((count * mean).sum() / count.sum())
    squares = float((count * (std**2 + (mean - overall) ** 2)).sum())
    exact = StatsAccumulator(int(count.sum()), overall, squares).result()
    return float(f"{exact.mean:.6g}"), float(f"{exact.std:.6g}")
