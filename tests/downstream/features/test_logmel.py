"""Statistics of log-mels: as embeddings, and as what normalises a task's log-mels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from byol_a.data.audio_file import AudioFile
from byol_a.data.io import read_audio
from byol_a.errors import ByolaError
from byol_a.frontend import FrontendConfig, LogMel
from downstream.features import EmbeddingCache, EmbeddingSource, LogMelStatistics
from downstream.features import source as source_module
from downstream.features.rows import ClipRows
from downstream.features.source import log_mel_statistics
from downstream.tasks.base import Clip


def clips_of(*paths: Path) -> list[Clip]:
    return [Clip(path, ("a",), "train") for path in paths]


def embedded(frontend: LogMel, *paths: Path) -> tuple[np.ndarray, EmbeddingSource]:
    source = EmbeddingSource(LogMelStatistics(frontend), clips_of(*paths), EmbeddingCache(None), progress=False)
    return source.matrix(), source


def statistics(frontend: LogMel, *paths: Path, cache: Path | None = None) -> tuple[float, float]:
    rows = ClipRows(clips_of(*paths), EmbeddingCache(cache), progress=False)
    return log_mel_statistics(rows, frontend, np.arange(len(paths)))


def test_of_files(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    good = write_wav(tmp_path / "a.wav", seconds=0.7, sample_rate=22050)
    other = write_wav(tmp_path / "c.wav", seconds=1.9, seed=5)
    bad = tmp_path / "b.wav"
    bad.write_text("no audio")
    frontend = LogMel(FrontendConfig(n_mels=40))
    rows, source = embedded(frontend, bad, good)
    logmel = frontend(torch.from_numpy(read_audio(good, 16000))).numpy()
    np.testing.assert_allclose(rows[1], np.concatenate([logmel.mean(1), logmel.max(1), logmel.std(1)]), rtol=1e-5)
    assert np.isnan(rows[0]).all() and [path for path, _ in source.problems.items()] == [str(bad)]
    assert LogMelStatistics(frontend).fingerprint() != LogMelStatistics(LogMel()).fingerprint()

    both = np.concatenate([logmel.ravel(), frontend(torch.from_numpy(read_audio(other, 16000))).numpy().ravel()])
    stats = statistics(frontend, bad, good, other)
    np.testing.assert_allclose(stats, (both.mean(dtype=np.float64), both.std(dtype=np.float64)), rtol=1e-5)
    assert stats == tuple(float(f"{value:.6g}") for value in stats)
    with pytest.raises(ByolaError, match="none of the 1 clips could be used for normalisation"):
        statistics(frontend, bad)


def test_statistics_are_kept(tmp_path: Path, write_wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write_wav(tmp_path / f"{n}.wav", 0.5, seed=n) for n in range(3)]
    first = statistics(LogMel(), *paths, cache=tmp_path / "cache")
    monkeypatch.setattr(AudioFile, "whole", None)
    assert statistics(LogMel(), *paths, cache=tmp_path / "cache") == first
    assert statistics(LogMel(), *paths[:2], cache=tmp_path / "cache") != first


def test_statistics_of_some_drawn_at_random(
    tmp_path: Path, write_wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write_wav(tmp_path / f"{n}.wav", 0.3, seed=n) for n in range(6)]
    every = statistics(LogMel(), *paths)
    monkeypatch.setattr(source_module, "MOST_STATISTICS_CLIPS", 2)
    some = statistics(LogMel(), *paths)
    assert some != every and some == statistics(LogMel(), *paths)


def test_silence_alone_cannot_be_normalised(tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    with pytest.raises(ByolaError, match="silent"):
        statistics(LogMel(), tmp_path / "a.wav")


def test_long_files_are_streamed_with_the_same_result(
    tmp_path: Path, write_wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = write_wav(tmp_path / "long.wav", seconds=95.3, sample_rate=8000)
    frontend = LogMel()
    logmel = frontend(torch.from_numpy(read_audio(long, 16000))).double().numpy()

    def whole(self: AudioFile, sample_rate: int | None) -> np.ndarray:
        raise AssertionError("the long file was read whole")

    monkeypatch.setattr(AudioFile, "whole", whole)
    (row,), _ = embedded(frontend, long)
    np.testing.assert_allclose(row, np.concatenate([logmel.mean(1), logmel.max(1), logmel.std(1)]), atol=1e-4)
    np.testing.assert_allclose(statistics(frontend, long), (logmel.mean(), logmel.std()), rtol=1e-5)


def test_a_long_file_that_breaks_off_leaves_no_trace(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    import soundfile

    good = write_wav(tmp_path / "good.wav", seconds=0.7)
    broken = tmp_path / "broken.flac"
    rng = np.random.default_rng(0)
    soundfile.write(broken, 0.9 * rng.uniform(-1, 1, 8000 * 90), 8000)
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) * 8 // 10])  # more than a block of it can be decoded
    rows, source = embedded(LogMel(), broken, good)
    assert np.isnan(rows[0]).all() and np.isfinite(rows[1]).all() and broken in source.problems
    assert statistics(LogMel(), broken, good) == statistics(LogMel(), good)
