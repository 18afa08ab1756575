"""What turns a task's clips into a matrix: a model, or statistics of log-mels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from byol_a import __version__
from byol_a.data.report import FileReport
from byol_a.errors import AudioError, ByolaError
from byol_a.progress import Progress
from downstream.cache import EmbeddingCache

if TYPE_CHECKING:
    from torch import Tensor

    from byol_a import BYOLA
    from byol_a.frontend import LogMel
    from byol_a.normalize import NormStats

MOST_STATISTICS_CLIPS = 10_000


class Features(Protocol):
    """Clips to embeddings."""

    @property
    def name(self) -> str:
        """What it is called in tables and score rows."""

    def fingerprint(self) -> str:
        """Digest of everything that decides the embeddings."""

    def extract(self, paths: Sequence[Path], problems: FileReport) -> np.ndarray:
        """Embeddings (N, D) float32; a file that cannot be used is reported and its row is NaN."""


class ModelFeatures:
    """Clip embeddings of a model."""

    def __init__(self, name: str, model: BYOLA, batch_size: int = 32, device: str | None = None) -> None:
        self.name, self.model, self.batch_size, self.device = name, model, batch_size, device

    def fingerprint(self) -> str:
        return self.model.fingerprint()

    def extract(self, paths: Sequence[Path], problems: FileReport) -> np.ndarray:
        return np.asarray(
            self.model.encode(
                list(paths),
                batch_size=self.batch_size,
                device=self.device,
                on_error=lambda path, error: problems.add(path, error.reason),
            )
        )


class LogMelStatistics:
    """Mean, maximum and standard deviation over time of each log-mel bin: D = 3 F. No learning at all."""

    def __init__(self, frontend: LogMel) -> None:
        self.name, self.frontend = "logmel", frontend

    def fingerprint(self) -> str:
        identity = json.dumps(["log-mel mean, max, std", 1, self.frontend.identity()], sort_keys=True)
        return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()

    def extract(self, paths: Sequence[Path], problems: FileReport) -> np.ndarray:
        rows = np.full((len(paths), 3 * self.frontend.config.n_mels), np.nan, dtype=np.float32)
        with Progress("log-mel statistics", total=len(paths)) as bar:
            for row, path in enumerate(paths):
                over_time = _BinStatistics(self.frontend.config.n_mels)
                if _read_log_mels(self.frontend, path, over_time.update, problems):
                    rows[row] = over_time.result()
                bar.advance()
        return rows


class _BinStatistics:
    """Mean, maximum and population standard deviation over time of log-mels that come in pieces.

    In float64, pieces combined as in `byol_a.normalize.StatsAccumulator`, here for each bin.
    """

    def __init__(self, n_mels: int) -> None:
        self._count = 0
        self._highest = np.full(n_mels, -np.inf)
        self._mean, self._sum_of_squares = np.zeros(n_mels), np.zeros(n_mels)

    def update(self, logmel: Tensor) -> None:
        """Take in the next frames (F, t)."""
        piece = logmel.numpy().astype(np.float64)
        total = self._count + piece.shape[1]
        mean = piece.mean(axis=1)
        step = mean - self._mean
        self._sum_of_squares += piece.var(axis=1) * piece.shape[1] + step**2 * self._count * piece.shape[1] / total
        self._mean += step * piece.shape[1] / total
        self._highest = np.maximum(self._highest, piece.max(axis=1))
        self._count = total

    def result(self) -> np.ndarray:
        """(3 F,)"""
        return np.concatenate([self._mean, self._highest, np.sqrt(self._sum_of_squares / self._count)])


def embed_clips(
    features: Features, paths: Sequence[Path], data_fingerprint: str, cache: EmbeddingCache
) -> tuple[np.ndarray, FileReport]:
    """Embeddings (N, D) of clips, from the cache if they are there, and the files that could not be used.

    Args:
        data_fingerprint: of the files' contents and order (`files_fingerprint`).

    Raises:
        ByolaError: if no file at all could be used, or an embedding is not finite.
    """
    # The version stands for the code that reads audio and runs encoders: a new one embeds anew.
    key, report = f"{features.fingerprint()}-{data_fingerprint}-clip-{__version__}", FileReport()
    kept = cache.get(key, rows=len(paths))
    if kept is None:
        matrix = features.extract(paths, report)
        reasons = dict(report.items())
        # Permissions, a flaky disk, another libsndfile: such a file may well be read the next time.
        if not any(reason.startswith(("unreadable", "unsupported")) for reason in reasons.values()):
            cache.put(key, matrix, {row: reasons[str(path)] for row, path in enumerate(paths) if str(path) in reasons})
    else:
        matrix, problems = kept
        report.extend((str(paths[row]), reason) for row, reason in problems.items())
    finite = np.isfinite(matrix).all(axis=1)
    unexplained = [path for path, good in zip(paths, finite, strict=True) if not good and path not in report]
    if unexplained:
        raise ByolaError(
            f"{features.name} gives embeddings that are not finite for {len(unexplained)} of {len(paths)} "
            f"files, the first of them {unexplained[0]}; its weights or its normalisation are damaged"
        )
    if not finite.any():
        path, reason = report.items()[0]
        raise ByolaError(f"none of the {len(paths)} files could be used; one of them: {path}: {reason}")
    return matrix, report


def statistics_of(frontend: LogMel, paths: Sequence[Path], seed: int = 0) -> NormStats:
    """Mean and standard deviation of the log-mels of whole clips, of at most 10,000 of them drawn at random.

    Raises:
        ByolaError: if none of them can be used.
    """
    from byol_a.normalize import StatsAccumulator

    chosen = np.random.default_rng(seed).permutation(len(paths))[:MOST_STATISTICS_CLIPS]
    statistics, problems = StatsAccumulator(), FileReport()
    with Progress("normalisation statistics", total=len(chosen)) as bar:
        for index in np.sort(chosen):
            of_file = StatsAccumulator()
            if _read_log_mels(frontend, paths[index], of_file.update, problems):
                statistics.merge(of_file)
            bar.advance()
    if len(problems) == len(chosen):
        path, reason = problems.items()[0]
        raise ByolaError(f"none of the {len(chosen)} files could be used; one of them: {path}: {reason}")
    # The last digits depend on the number of threads; without them the fingerprint of a model that is
    # normalised this way does not.
    exact = statistics.result()
    return type(exact)(float(f"{exact.mean:.6g}"), float(f"{exact.std:.6g}"))


def _read_log_mels(frontend: LogMel, path: Path, update: Callable[[Tensor], None], problems: FileReport) -> bool:
    """Give the log-mel (F, T) of a file to `update`; of one longer than a minute in pieces (F, t), one by one.

    Returns:
        Whether all of it could be read; if not, the report has a line more.
    """
    import torch

    from byol_a.data.io import stream_audio
    from byol_a.inputs import LongFile, load
    from byol_a.streaming import stream_log_mels

    rate = frontend.config.sample_rate
    try:
        loaded = load(path, rate, str(path))
        if isinstance(loaded, AudioError):
            raise loaded
        with torch.inference_mode():
            if isinstance(loaded, LongFile):
                for piece in stream_log_mels(map(torch.from_numpy, stream_audio(path, rate)), frontend):
                    update(piece)
            else:
                update(frontend(torch.from_numpy(loaded)))
    except AudioError as error:
        problems.add(path, error.reason)
        return False
    return True
