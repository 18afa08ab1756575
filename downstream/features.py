"""What turns a task's clips into a matrix: a model, or statistics of log-mels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from byol_a import __version__
from byol_a.data.report import FileReport
from byol_a.errors import AudioError, ByolaError
from byol_a.progress import Progress
from downstream.cache import EmbeddingCache

if TYPE_CHECKING:
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
                logmel = _log_mel(self.frontend, path, problems)  # (F, T)
                if logmel is not None:
                    rows[row] = np.concatenate([logmel.mean(1), logmel.max(1), logmel.std(1)])
                bar.advance()
        return rows


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
    import torch

    from byol_a.normalize import StatsAccumulator

    chosen = np.random.default_rng(seed).permutation(len(paths))[:MOST_STATISTICS_CLIPS]
    statistics, problems = StatsAccumulator(), FileReport()
    with Progress("normalisation statistics", total=len(chosen)) as bar:
        for index in np.sort(chosen):
            logmel = _log_mel(frontend, paths[index], problems)
            if logmel is not None:
                statistics.update(torch.from_numpy(logmel))
            bar.advance()
    if len(problems) == len(chosen):
        path, reason = problems.items()[0]
        raise ByolaError(f"none of the {len(chosen)} files could be used; one of them: {path}: {reason}")
    # The last digits depend on the number of threads; without them the fingerprint of a model that is
    # normalised this way does not.
    exact = statistics.result()
    return type(exact)(float(f"{exact.mean:.6g}"), float(f"{exact.std:.6g}"))


def _log_mel(frontend: LogMel, path: Path, problems: FileReport) -> np.ndarray | None:
    """Log-mel (F, T) of a file; None, and a line in the report, if it cannot be used."""
    import torch

    from byol_a.data.io import read_audio

    try:
        wave = read_audio(path, frontend.config.sample_rate)
    except AudioError as error:
        problems.add(path, error.reason)
        return None
    with torch.inference_mode():
        return frontend(torch.from_numpy(wave)).numpy()
