"""Embeddings of a task's clips: order kept, bad files reported, found again by content, made again where damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from byol_a.errors import ByolaError
from downstream.features import EmbeddingCache, EmbeddingRequest, EmbeddingSource, default_cache_folder, rows
from downstream.tasks.base import Clip
from tests.downstream.features.made import FileSizes, files

EXPECTED = [[np.nan, np.nan], [1, 1], [2, 1]]


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    return files(tmp_path / "data", [0, 1, 2])  # the first one is empty


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "cache")


def source(features: FileSizes, clips: list[Clip], cache: EmbeddingCache) -> EmbeddingSource:
    return EmbeddingSource(features, clips, cache, progress=False)


def test_the_second_time_comes_from_the_cache_with_its_problems(clips: list[Clip], cache: EmbeddingCache) -> None:
    features = FileSizes()
    for _ in range(2):
        one = source(features, clips, cache)
        matrix = one.matrix()
        np.testing.assert_array_equal(matrix, EXPECTED)
        assert isinstance(matrix, np.memmap) and not matrix.flags.writeable
        assert one.problems.items() == [(str(clips[0].path), "empty: no samples")] and one.usable() == [1, 2]
    assert features.made == [0, 1, 2]
    other = FileSizes("another model")
    source(other, clips, cache).matrix()
    assert len(other.made) == 3


@pytest.mark.parametrize("kept", [True, False])
def test_each_request_has_a_matrix_of_its_own(clips: list[Clip], tmp_path: Path, kept: bool) -> None:
    cache, features = EmbeddingCache(tmp_path / "cache" if kept else None), FileSizes()
    one = source(features, clips, cache)
    requests = [
        EmbeddingRequest(),
        EmbeddingRequest("first", 1.0),
        EmbeddingRequest("first", 2.0),
        EmbeddingRequest("random", 1.0),
        EmbeddingRequest("random", 1.0, seed=1),
    ]
    for _ in range(2):
        for request in requests:
            one.matrix(request)
    assert len(features.made) == 3 * len(requests)
    # What plays no part in a request makes no other one of it.
    one.matrix(EmbeddingRequest("whole", 3.0, seed=7))
    one.matrix(EmbeddingRequest("first", 1.0, seed=7))
    one.matrix(EmbeddingRequest(stats=(0.0, 1.0)))  # these features have no log-mels
    assert len(features.made) == 3 * len(requests)


def test_without_a_folder_nothing_is_kept_for_the_next_time(clips: list[Clip]) -> None:
    features = FileSizes()
    for _ in range(2):
        np.testing.assert_array_equal(source(features, clips, EmbeddingCache(None)).matrix(), EXPECTED)
    assert len(features.made) == 6


def test_rows_are_found_by_content_whatever_the_list(clips: list[Clip], cache: EmbeddingCache) -> None:
    features = FileSizes()
    source(features, clips, cache).matrix()
    renamed = replace(clips[2], path=clips[2].path.rename(clips[2].path.with_name("other.wav")), labels=("b",))
    matrix = source(features, [renamed, clips[1], renamed], cache).matrix()
    np.testing.assert_array_equal(matrix, [[2, 1], [1, 1], [2, 1]])
    assert len(features.made) == 3
    renamed.path.write_bytes(b"qq")
    source(features, [renamed, clips[1]], cache).matrix()
    assert len(features.made) == 4
    # A section is another clip; so is, in a random cut, another place in the task.
    source(features, [replace(clips[1], section=(0.0, 1.0))], cache).matrix()
    assert len(features.made) == 5
    for shift in (0, 1, 1):
        source(features, [clips[1]] * shift + [renamed], cache).matrix(EmbeddingRequest("random", 1.0))
    assert len(features.made) == 8


def test_the_fingerprint_of_the_data_is_of_contents_and_order(clips: list[Clip], cache: EmbeddingCache) -> None:
    def fingerprint(these: list[Clip]) -> str:
        return source(FileSizes(), these, cache).data_fingerprint()

    before = fingerprint(clips)
    renamed = replace(clips[2], path=clips[2].path.rename(clips[2].path.with_name("elsewhere.wav")))
    assert fingerprint([*clips[:2], renamed]) == before == fingerprint([*clips[:2], renamed])
    assert (
        len({before, fingerprint([renamed, *clips[:2]]), fingerprint([*clips[:2], replace(renamed, section=(0, 1))])})
        == 3
    )
    renamed.path.write_bytes(b"xy")
    changed = fingerprint([*clips[:2], renamed])
    renamed.path.unlink()
    assert len({before, changed, fingerprint([*clips[:2], renamed])}) == 3


def test_a_part_is_embedded_alone_and_keeps_its_places(tmp_path: Path, cache: EmbeddingCache) -> None:
    clips = files(tmp_path / "data", [3, 0, 4, 5, 6])
    features = FileSizes()
    whole = source(features, clips, cache)
    part = whole.only([4, 1, 2])
    np.testing.assert_array_equal(part.matrix(), [[6, 1], [np.nan] * 2, [4, 1]])
    assert features.made == [4, 1, 2] and part.clips == (clips[4], clips[1], clips[2])
    assert [path for path, _ in part.problems.items()] == [str(clips[1].path)]
    assert whole.matrix()[:, 0].tolist()[2:] == [4, 5, 6] and features.made == [4, 1, 2, 0, 3]
    inner = part.only([2, 0])
    assert part.usable() == [0, 2] and inner.usable() == [0, 1]
    assert inner.indices.tolist() == [2, 4] and not len(inner.problems)
    np.testing.assert_array_equal(inner.matrix(), [[4, 1], [6, 1]])
    assert len(features.made) == 5


def test_an_extraction_that_was_stopped_goes_on(
    tmp_path: Path, cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "BLOCK_ROWS", 3)
    clips = files(tmp_path / "data", [0, 0, *range(1, 20)])
    features = FileSizes()
    for stop in (1, 2, 7, 8, 16):
        features.stop_after = stop
        with pytest.raises(KeyboardInterrupt):
            source(features, clips, cache).matrix()
    features.stop_after = None
    matrix = source(features, clips, cache).matrix()
    assert matrix[2:, 0].tolist() == list(range(1, 20)) and np.isnan(matrix[:2]).all()
    # Only failures before the very first row are found anew: until then the size of a row is not known.
    assert features.made.count(0) <= 3 and sorted(features.made[2:]).count(10) == 1
    assert len(list((tmp_path / "cache" / "rows").glob("*/*.rows"))) == 1  # joined


@pytest.mark.parametrize("reason", ["unreadable: Permission denied", "unsupported: cannot be decoded here"])
def test_what_may_be_readable_tomorrow_is_tried_again(clips: list[Clip], cache: EmbeddingCache, reason: str) -> None:
    today, tomorrow = FileSizes(reason=reason), FileSizes(reason="empty")
    for _ in range(2):
        one = source(today, clips, cache)
        matrix = one.matrix()
        np.testing.assert_array_equal(matrix, EXPECTED)
        assert isinstance(matrix, np.memmap) and one.problems.items() == [(str(clips[0].path), reason)]
    assert today.made == [0, 1, 2, 0]
    for _ in range(2):
        one = source(tomorrow, clips, cache)
        np.testing.assert_array_equal(one.matrix(), EXPECTED)
        assert one.problems.items() == [(str(clips[0].path), "empty")]
    assert tomorrow.made == [0]


def test_a_file_that_changes_meanwhile_is_not_kept_as_what_it_was(tmp_path: Path, cache: EmbeddingCache) -> None:
    clips = files(tmp_path / "data", [1, 2, 0, 3])

    class Late(FileSizes):
        def extract(self, pieces, request):
            for number, size in ((1, 7), (2, 8)):  # one that could be used, and one that could not
                clips[number].path.write_bytes(b"y" * size)
            clips[3].path.touch()  # of the same content still
            yield from super().extract(pieces, request)

    late, after = Late(), FileSizes()
    one = source(late, clips, cache)
    for _ in range(2):
        np.testing.assert_array_equal(one.matrix()[:, 0], [1, np.nan, np.nan, 3])
        assert [reason.split(":")[0] for _, reason in one.problems.items()] == ["changed"] * 2
    assert source(after, clips, cache).matrix()[:, 0].tolist() == [1, 7, 8, 3] and after.made == [1, 2]
    for number, size in ((1, 2), (2, 0)):  # as they were
        clips[number].path.write_bytes(str(number).encode().rjust(size, b"x")[:size])
    np.testing.assert_array_equal(source(after, clips, cache).matrix()[:, 0], [1, 2, np.nan, 3])


def test_a_folder_that_was_not_there_for_a_while(clips: list[Clip], cache: EmbeddingCache) -> None:
    data = clips[0].path.parent
    away = data.rename(data.with_name("away"))
    with pytest.raises(ByolaError, match=r"none of the 3 clips could be used.*no such file"):
        source(FileSizes(), clips, cache).matrix()
    away.rename(data)
    np.testing.assert_array_equal(source(FileSizes(), clips, cache).matrix(), EXPECTED)


def test_nothing_usable_and_nonsense_are_errors(clips: list[Clip], cache: EmbeddingCache) -> None:
    with pytest.raises(ByolaError, match=r"none of the 1 clips could be used.*empty: no samples"):
        source(FileSizes(), clips[:1], cache).matrix()
    with pytest.raises(ByolaError, match=r"not finite for .*1\.wav$"):  # it has no weights that could be damaged
        source(FileSizes(value=np.inf), clips, cache).matrix()


def test_one_fingerprint_for_two_sizes_is_said(clips: list[Clip], cache: EmbeddingCache) -> None:
    source(FileSizes(), clips[:2], cache).matrix()

    class Wider(FileSizes):
        def extract(self, pieces, request):
            for row in super().extract(pieces, request):
                yield np.append(row, np.float32(0)) if isinstance(row, np.ndarray) else row

    with pytest.raises(ByolaError, match=r"3 numbers.*others of 2.*another fingerprint"):
        source(Wider(), clips, cache).matrix()


def test_statistics_are_ignored_once_and_said(
    clips: list[Clip], cache: EmbeddingCache, capsys: pytest.CaptureFixture[str]
) -> None:
    one = source(FileSizes(), clips, cache)
    parts = [one.only([1]), one.only([2])]
    for part in (*parts, one, parts[0].only([0])):
        assert part.statistics([0]) is None
        part.matrix(EmbeddingRequest(stats=(0.0, 1.0)))
    assert capsys.readouterr().err.count("play no part") == 1


def test_memory_without_a_folder_is_bounded(clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MEMORY_BYTES", 60)  # two matrices of 24 bytes
    features = FileSizes()
    one = source(features, clips, EmbeddingCache(None))
    for seed in (0, 1, 2, 2, 1, 0):
        one.matrix(EmbeddingRequest("random", 1.0, seed=seed))
    assert len(features.made) == 4 * 3


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder().is_relative_to(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_folder().is_relative_to(Path.home())
