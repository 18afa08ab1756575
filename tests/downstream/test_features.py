"""Embeddings of a task's clips: order kept, bad files reported, cached by content, damaged entries made again."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from byol_a.data.io import read_audio
from byol_a.data.report import FileReport
from byol_a.errors import ByolaError
from byol_a.frontend import FrontendConfig, LogMel
from downstream.cache import EmbeddingCache, default_cache_folder, files_fingerprint
from downstream.features import LogMelStatistics, embed_clips, statistics_of


class FileSizes:
    """Stands for a model: the embedding of a file is its size, and that of an empty file cannot be had."""

    name = "sizes"

    def __init__(self, fingerprint: str = "f", value: float = 1.0, reason: str = "empty: no samples") -> None:
        self._fingerprint, self.value, self.reason, self.calls = fingerprint, value, reason, 0

    def fingerprint(self) -> str:
        return self._fingerprint

    def extract(self, paths: Sequence[Path], problems: FileReport) -> np.ndarray:
        self.calls += 1
        sizes = [path.stat().st_size for path in paths]
        for path, size in zip(paths, sizes, strict=True):
            if not size:
                problems.add(path, self.reason)
        return np.asarray([[size, self.value] if size else [np.nan] * 2 for size in sizes], dtype=np.float32)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"{name}.wav" for name in "abc"]
    for number, path in enumerate(found):
        path.write_bytes(b"x" * number)  # the first one is empty
    return found


def test_the_second_time_comes_from_the_cache_with_its_problems(paths: list[Path], tmp_path: Path) -> None:
    features, cache = FileSizes(), EmbeddingCache(tmp_path / "cache")
    data = files_fingerprint(paths)
    for _ in range(2):
        matrix, problems = embed_clips(features, paths, data, cache)
        np.testing.assert_array_equal(matrix, [[np.nan, np.nan], [1, 1], [2, 1]])
        assert problems.items() == [(str(paths[0]), "empty: no samples")]
    assert features.calls == 1
    other = FileSizes("another model")
    embed_clips(other, paths, data, cache)
    assert other.calls == 1


def test_the_fingerprint_is_of_contents_and_order_not_of_names(paths: list[Path]) -> None:
    before = files_fingerprint(paths)
    renamed = paths[2].rename(paths[2].with_name("elsewhere.wav"))
    assert files_fingerprint([*paths[:2], renamed]) == before
    assert files_fingerprint([renamed, *paths[:2]]) != before
    stamps = renamed.stat()
    renamed.write_bytes(b"xy")  # same size, and the same times
    os.utime(renamed, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))
    assert files_fingerprint([*paths[:2], renamed]) != before
    renamed.unlink()
    assert files_fingerprint([*paths[:2], renamed]) != before


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "text", "fewer rows"])
def test_a_damaged_entry_is_made_again(paths: list[Path], tmp_path: Path, damage: str) -> None:
    features, cache = FileSizes(), EmbeddingCache(tmp_path / "cache")
    data = files_fingerprint(paths)
    good, _ = embed_clips(features, paths, data, cache)
    (entry,) = (tmp_path / "cache").iterdir()
    whole = entry.read_bytes()
    if damage == "fewer rows":
        cache.put(entry.stem, good[:1], {})
    else:
        middle = whole.index(np.float32(2.0).tobytes())  # inside the matrix
        entry.write_bytes(
            {
                "truncated": whole[: len(whole) // 2],
                "empty": b"",
                "flipped": whole[:middle] + b"\xff" + whole[middle + 1 :],
                "text": b"not a zip",
            }[damage]
        )
    again, problems = embed_clips(features, paths, data, cache)
    np.testing.assert_array_equal(again, good)
    assert features.calls == 2 and len(problems) == 1
    embed_clips(features, paths, data, cache)
    assert features.calls == 2


def test_no_cache_keeps_nothing(paths: list[Path]) -> None:
    features = FileSizes()
    for _ in range(2):
        embed_clips(features, paths, "d", EmbeddingCache(None))
    assert features.calls == 2


def test_nothing_usable_and_nonsense_are_errors(paths: list[Path]) -> None:
    with pytest.raises(ByolaError, match="none of the 1 files"):
        embed_clips(FileSizes(), paths[:1], "d", EmbeddingCache(None))
    with pytest.raises(ByolaError, match="not finite for 2 of 3 files"):
        embed_clips(FileSizes(value=np.inf), paths, "d", EmbeddingCache(None))


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder().is_relative_to(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_folder().is_relative_to(Path.home())


def test_log_mel_statistics_of_files(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    import torch

    good = write_wav(tmp_path / "a.wav", seconds=0.7, sample_rate=22050)
    bad = tmp_path / "b.wav"
    bad.write_text("no audio")
    frontend, problems = LogMel(FrontendConfig(n_mels=40)), FileReport()
    rows = LogMelStatistics(frontend).extract([bad, good], problems)
    logmel = frontend(torch.from_numpy(read_audio(good, 16000))).numpy()
    np.testing.assert_allclose(rows[1], np.concatenate([logmel.mean(1), logmel.max(1), logmel.std(1)]), rtol=1e-6)
    assert np.isnan(rows[0]).all() and [path for path, _ in problems.items()] == [str(bad)]
    assert LogMelStatistics(frontend).fingerprint() != LogMelStatistics(LogMel()).fingerprint()

    stats = statistics_of(frontend, [bad, good])
    assert stats.mean == pytest.approx(logmel.mean(dtype=np.float64), rel=1e-5)
    assert stats.std == pytest.approx(logmel.std(dtype=np.float64), rel=1e-5)
    with pytest.raises(ByolaError, match="none of the 1 files"):
        statistics_of(frontend, [bad])


@pytest.mark.parametrize("reason", ["unreadable: Permission denied", "unsupported: cannot be decoded here"])
def test_what_may_be_readable_tomorrow_is_not_cached(paths: list[Path], tmp_path: Path, reason: str) -> None:
    cache, data = EmbeddingCache(tmp_path / "cache"), files_fingerprint(paths)
    today, tomorrow = FileSizes(reason=reason), FileSizes()
    _, problems = embed_clips(today, paths, data, cache)
    assert problems.items() == [(str(paths[0]), reason)]
    embed_clips(tomorrow, paths, data, cache)
    assert tomorrow.calls == 1


def test_long_files_are_streamed_with_the_same_result(
    tmp_path: Path, write_wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from byol_a.data.audio_file import AudioFile

    long = write_wav(tmp_path / "long.wav", seconds=95.3, sample_rate=8000)
    frontend = LogMel()
    logmel = frontend(torch.from_numpy(read_audio(long, 16000))).double().numpy()

    def whole(self: AudioFile, sample_rate: int | None) -> np.ndarray:
        raise AssertionError("the long file was read whole")

    monkeypatch.setattr(AudioFile, "whole", whole)
    (row,) = LogMelStatistics(frontend).extract([long], FileReport())
    np.testing.assert_allclose(row, np.concatenate([logmel.mean(1), logmel.max(1), logmel.std(1)]), atol=1e-4)
    stats = statistics_of(frontend, [long])
    assert stats.mean == pytest.approx(logmel.mean(), rel=1e-5)
    assert stats.std == pytest.approx(logmel.std(), rel=1e-5)


def test_a_long_file_that_breaks_off_leaves_no_trace(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    import soundfile

    good = write_wav(tmp_path / "good.wav", seconds=0.7)
    broken = tmp_path / "broken.flac"
    rng = np.random.default_rng(0)
    soundfile.write(broken, 0.9 * rng.uniform(-1, 1, 8000 * 90), 8000)
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) * 8 // 10])  # more than a block of it can be decoded
    frontend, problems = LogMel(), FileReport()
    rows = LogMelStatistics(frontend).extract([broken, good], problems)
    assert np.isnan(rows[0]).all() and np.isfinite(rows[1]).all() and broken in problems
    assert statistics_of(frontend, [broken, good]) == statistics_of(frontend, [good])
