"""What of a clip is read: sections, units, random places, and the same without decoding the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from byol_a.data.io import read_audio
from byol_a.errors import AudioError, UsageError
from byol_a.inputs import LongFile
from downstream.features import EmbeddingCache, EmbeddingRequest, EmbeddingSource, Piece
from downstream.features.cuts import cut, read_clip, read_piece
from downstream.tasks.base import Clip
from tests.downstream.features.made import FileSizes

RATE = 16000


@pytest.fixture
def path(tmp_path: Path, write_wav: Callable[..., Path]) -> Path:
    return write_wav(tmp_path / "a.wav", seconds=2.5, sample_rate=22050)


def clip_of(path: Path, section: tuple[float, float] | None = None) -> Clip:
    return Clip(path, ("a",), "train", section=section)


def test_a_section_is_that_part_of_the_file(path: Path) -> None:
    whole = read_audio(path, RATE)
    np.testing.assert_array_equal(read_clip(clip_of(path), RATE), whole)
    np.testing.assert_allclose(read_clip(clip_of(path, (0.5, 1.25)), RATE), whole[8000:20000], atol=1e-5)
    np.testing.assert_allclose(read_clip(clip_of(path, (2.0, 9.0)), RATE), whole[32000:], atol=1e-5)
    for section in ((2.5, 3.0), (7.0, 8.0), (-1.0, 1.0), (1.0, 1.0)):
        with pytest.raises(AudioError, match="no samples from"):
            read_clip(clip_of(path, section), RATE)
        assert isinstance(read_piece(Piece(0, clip_of(path, section)), EmbeddingRequest(), RATE), AudioError)


@pytest.mark.parametrize("section", [None, (0.25, 1.75), (1.0, 1.1)])
@pytest.mark.parametrize("unit", [0.1, 1.0, 2.5, 4.0])
@pytest.mark.parametrize("kind", ["whole", "first", "random"])
def test_reading_a_piece_is_reading_all_and_cutting(
    path: Path, section: tuple[float, float] | None, unit: float, kind: str
) -> None:
    clip, request = clip_of(path, section), EmbeddingRequest(kind, unit, seed=3)  # type: ignore[arg-type]
    for index in range(3):
        expected = cut(read_clip(clip, RATE), request, index, RATE)
        got = read_piece(Piece(index, clip), request, RATE)
        assert isinstance(got, np.ndarray) and got.dtype == np.float32
        np.testing.assert_allclose(got, expected, atol=1e-5)
        assert kind == "whole" or len(got) == round(unit * RATE)


def test_units() -> None:
    wave = np.arange(1, 101, dtype=np.float32)
    assert cut(wave, EmbeddingRequest(), 0, 10) is wave
    np.testing.assert_array_equal(cut(wave, EmbeddingRequest("first", 3.0), 5, 10), wave[:30])
    short = cut(wave, EmbeddingRequest("first", 12.0), 5, 10)
    np.testing.assert_array_equal(short, np.append(wave, np.zeros(20)))
    np.testing.assert_array_equal(cut(wave, EmbeddingRequest("random", 12.0), 5, 10), short)


def test_random_places_are_uniform_and_follow_seed_and_index_alone() -> None:
    wave = np.arange(25, dtype=np.float32)

    def start(index: int, seed: int) -> int:
        return int(cut(wave, EmbeddingRequest("random", 1.0, seed), index, 10)[0])

    starts = [start(index, 0) for index in range(4000)]
    assert starts == [start(index, 0) for index in range(4000)]
    counts = np.bincount(starts, minlength=16)
    assert len(counts) == 16 and counts.min() > 250 - 5 * math.sqrt(250) and counts.max() < 250 + 5 * math.sqrt(250)
    others = [start(index, 1) for index in range(4000)]
    assert abs(np.corrcoef(starts, others)[0, 1]) < 0.1


def test_a_long_file_is_streamed_only_as_a_whole(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    path = write_wav(tmp_path / "long.wav", seconds=61.5, sample_rate=8000)
    assert isinstance(read_piece(Piece(0, clip_of(path)), EmbeddingRequest(), RATE), LongFile)
    for clip, request in (
        (clip_of(path, (0.0, 61.0)), EmbeddingRequest()),
        (clip_of(path), EmbeddingRequest("random", 1.0)),
    ):
        assert isinstance(read_piece(Piece(0, clip), request, RATE), np.ndarray)


def test_a_request_says_what_is_wrong_with_it() -> None:
    with pytest.raises(UsageError, match="whole, first, random, not 'last'"):
        EmbeddingRequest("last")  # type: ignore[arg-type]
    for unit in (None, 0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="'random' needs the unit's length"):
            EmbeddingRequest("random", unit)


def test_waves_of_a_source(path: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.wav"
    source = EmbeddingSource(
        FileSizes(), [clip_of(missing), clip_of(path), clip_of(path, (0.0, 1.0))], EmbeddingCache(None), False
    )
    assert len(source.wave(1)) == 40000 and len(source.wave(1, 8000)) == 20000
    (_, bad), (index, good) = source.waves([0, 2])
    assert isinstance(bad, AudioError) and index == 2 and isinstance(good, np.ndarray) and len(good) == RATE
    part = source.only([2, 1])
    assert len(part.wave(0)) == RATE and [index for index, _ in part.waves()] == [0, 1]
    with pytest.raises(AudioError):
        source.wave(0)
