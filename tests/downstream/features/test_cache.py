"""Kept rows: whole matrices mapped, damage noticed, a full disk survived, several processes at once."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest

from downstream.features import EmbeddingCache, EmbeddingSource, cache, usage
from downstream.features.segments import KEY, NO_KEY, read_segment, segment_name, write_segment
from tests.downstream.features.made import FileSizes, files


def keys(*numbers: int) -> np.ndarray:
    return np.asarray([number.to_bytes(16, "little") for number in numbers], KEY)


def matrix(*values: float) -> np.ndarray:
    return np.asarray([[value, -value] for value in values], np.float32)


@pytest.mark.parametrize("kept", [True, False])
def test_rows_are_found_one_by_one_and_as_a_whole(tmp_path: Path, kept: bool) -> None:
    store = EmbeddingCache(tmp_path if kept else None).rows("m")
    assert store.missing(keys(1, 2)).tolist() == [0, 1] and store.dim is None
    store.add(keys(1, 2, 0x100), matrix(1, 2, np.nan), {2: "empty"})
    store.add(keys(3, 4), matrix(3, 4), {})
    assert store.missing(keys(5, 4, 1, 6)).tolist() == [0, 3]
    got, reasons = store.gather(keys(4, 0x100, 1, 9, 4), join=False)
    np.testing.assert_array_equal(got[:, 0], [4, np.nan, 1, np.nan, 4])
    assert reasons == {1: "empty"}
    joined, reasons = store.gather(keys(1, 2, 0x100, 3, 4), join=True)
    np.testing.assert_array_equal(joined[:, 0], [1, 2, np.nan, 3, 4])
    assert reasons == {2: "empty"}
    assert store.gather(keys(1, 2, 0x100, 3, 4), join=True)[0] is joined
    assert isinstance(joined, np.memmap) == kept
    if kept:
        assert store.bytes_held == 0 and len(list((tmp_path / "rows" / "m").glob("*.rows"))) == 1
        again = EmbeddingCache(tmp_path).rows("m")
        assert again.missing(keys(1, 4, 7)).tolist() == [2]


def test_keys_that_end_in_zeros_are_told_apart() -> None:
    store = EmbeddingCache(None).rows("m")
    store.add(keys(1, 1 << 8, 1 << 120), matrix(1, 2, 3), {})
    assert store.gather(keys(1 << 120, 1 << 8, 1), join=False)[0][:, 0].tolist() == [3, 2, 1]
    assert store.missing(np.asarray([NO_KEY], KEY)).tolist() == [0]


def test_many_blocks_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "BLOCK_ROWS", 7)
    rng = np.random.default_rng(0)
    store = EmbeddingCache(tmp_path).rows("m")
    names = rng.permutation(100) + 1
    for start in range(0, 100, 13):
        part = names[start : start + 13].tolist()
        store.add(keys(*part), matrix(*part), {})
    wanted = rng.permutation(100)[:60].tolist()
    wanted = [number + 1 for number in wanted]
    for join in (False, True, True):
        np.testing.assert_array_equal(store.gather(keys(*wanted), join)[0], matrix(*wanted))
    np.testing.assert_array_equal(store.gather(keys(*names.tolist()), False)[0], matrix(*names.tolist()))


DAMAGE = {
    "cut short": lambda whole: whole[: len(whole) - 5],
    "longer": lambda whole: whole + b"x",
    "empty": lambda whole: b"",
    "text": lambda whole: b"not a segment of anything",
    "flipped": lambda whole: whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:],
    "another key": lambda whole: whole.replace(keys(1).tobytes(), keys(7).tobytes()),
    "another reason": lambda whole: whole.replace(b'"empty"', b'"e\xff\xffty"'),
    "another count": lambda whole: whole.replace(b'"rows": 2', b'"rows": 3'),
    "a header of letters": lambda whole: b"\xff" * 16 + whole[16:],
    "a header that is a list": lambda whole: (2).to_bytes(8, "little") + b"[]" + whole[10:],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_segment_is_no_segment_and_is_removed(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.rows"
    write_segment(path, keys(1, 2), [matrix(1, np.nan)], 2, {1: "empty"})
    damaged = DAMAGE[damage](path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    assert read_segment(path) is None and not path.exists()


def test_only_a_file_that_was_touched_is_read(tmp_path: Path) -> None:
    """Checking 800 MB takes a second: a file whose time is the one that it was given is believed."""
    path = tmp_path / "a.rows"
    made = write_segment(path, keys(1), [matrix(1)], 2, {})
    np.testing.assert_array_equal(made.matrix, matrix(1))
    stamp = path.stat().st_mtime_ns
    os.utime(path)
    segment = read_segment(path)  # checked, found good, and given back its time
    assert segment is not None and path.stat().st_mtime_ns == stamp
    del made, segment
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    os.utime(path, ns=(stamp, stamp))
    assert read_segment(path) is not None


@pytest.mark.parametrize("damage", ["flipped", "cut short"])
def test_damaged_embeddings_are_made_again(tmp_path: Path, damage: str) -> None:
    clips, features = files(tmp_path / "data", [0, 1, 2]), FileSizes()
    for _ in range(2):
        one = EmbeddingSource(features, clips, EmbeddingCache(tmp_path / "cache"), progress=False)
        np.testing.assert_array_equal(one.matrix(), [[np.nan] * 2, [1, 1], [2, 1]])
        (entry,) = (tmp_path / "cache" / "rows").glob("*/*.rows")
        entry.write_bytes(DAMAGE[damage](entry.read_bytes()))
    assert len(features.made) == 6


def test_a_place_that_cannot_be_written_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "BLOCK_ROWS", 1)
    clips, features = files(tmp_path / "data", [1, 2, 3]), FileSizes()
    (tmp_path / "file").write_text("in the way")
    store = EmbeddingCache(tmp_path / "file" / "cache")
    one = EmbeddingSource(features, clips, store, progress=False)
    for _ in range(2):
        assert one.matrix()[:, 0].tolist() == [1, 2, 3]
    assert len(features.made) == 3 and not store.is_writable
    said = capsys.readouterr().err
    assert said.count("cannot be kept") == 1 and str(tmp_path / "file") in said


def test_a_disk_that_gets_full_costs_what_is_not_kept_only(
    small_disk: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    class Large(FileSizes):
        def extract(self, pieces, request):
            for row in super().extract(pieces, request):
                yield np.repeat(row[:1], 25_000)  # 100 kB

    from downstream.features import rows

    clips = files(tmp_path / "data", [*range(1, 51)])
    blocks = pytest.MonkeyPatch()
    blocks.setattr(rows, "BLOCK_ROWS", 10)
    try:
        for _ in range(2):
            features = Large()
            one = EmbeddingSource(features, clips, EmbeddingCache(small_disk / "cache"), progress=False)
            assert one.matrix()[:, -1].tolist() == list(range(1, 51))
            assert "No space left" in capsys.readouterr().err
    finally:
        blocks.undo()
    assert len(features.made) == 20  # three blocks of a megabyte were kept
    assert not list((small_disk / "cache").glob("rows/*/*.partial"))


class _Killed(FileSizes):
    """Gone after 10 clips, without a word."""

    def extract(self, pieces, request):
        for row in super().extract(pieces, request):
            if len(self.made) > 10:
                os._exit(9)
            yield row


def test_an_extraction_that_was_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from downstream.features import rows

    monkeypatch.setattr(rows, "BLOCK_ROWS", 4)
    clips, folder = files(tmp_path / "data", range(1, 20)), tmp_path / "cache"
    embed = EmbeddingSource(_Killed(), clips, EmbeddingCache(folder), progress=False).matrix
    process = multiprocessing.get_context("fork").Process(target=embed, daemon=True)
    process.start()
    process.join(60)
    assert process.exitcode == 9
    features = FileSizes()
    matrix = EmbeddingSource(features, clips, EmbeddingCache(folder), progress=False).matrix()
    assert matrix[:, 0].tolist() == list(range(1, 20)) and features.made == list(range(8, 19))


def _embed(folder: Path, data: Path, start: float) -> None:
    clips = files(data, range(1, 40))
    time.sleep(max(0.0, start - time.time()))
    for _ in range(5):
        one = EmbeddingSource(FileSizes(), clips, EmbeddingCache(folder), progress=False)
        assert one.only(range(20)).matrix()[:, 0].tolist() == list(range(1, 21))
        assert one.matrix()[:, 0].tolist() == list(range(1, 40))


def test_processes_share_a_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = time.time() + 0.5
    folders = [(tmp_path / "cache", tmp_path / str(number)) for number in range(4)]
    processes = [context.Process(target=_embed, args=(*pair, start), daemon=True) for pair in folders]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    one = EmbeddingSource(FileSizes(), files(tmp_path / "0", range(1, 40)), EmbeddingCache(tmp_path / "cache"), False)
    assert isinstance(one.matrix(), np.memmap)


def test_leftovers_of_killed_processes_are_removed_in_time(tmp_path: Path) -> None:
    store = EmbeddingCache(tmp_path).rows("m")
    store.add(keys(1), matrix(1), {})
    for name, age in (("old", 2 * 24 * 3600), ("new", 60)):
        path = tmp_path / "rows" / "m" / f".{name}.rows.1.partial"
        path.write_bytes(b"")
        os.utime(path, (time.time() - age,) * 2)
    EmbeddingCache(tmp_path).rows("m")
    assert sorted(path.name for path in (tmp_path / "rows" / "m").iterdir()) == [
        ".new.rows.1.partial",
        segment_name(keys(1)),
        "about.json",
    ]


def test_rows_of_other_versions_that_nobody_uses_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long_ago = (time.time() - 31 * 24 * 3600,) * 2
    for name, version in (("own", usage.__version__), ("old", "0.0.1"), ("used", "0.0.1"), ("unknown", None)):
        with monkeypatch.context() as other:
            other.setattr(usage, "__version__", version)
            EmbeddingCache(tmp_path).rows(name, "a model").add(keys(1), matrix(1), {})
        if version is None:
            (tmp_path / "rows" / name / "about.json").unlink()
        for path in (tmp_path / "rows" / name).iterdir():
            os.utime(path, long_ago)
        os.utime(tmp_path / "rows" / name, long_ago)
    assert json.loads((tmp_path / "rows" / "own" / "about.json").read_text())["model"] == "a model"
    EmbeddingCache(tmp_path).rows("used")  # by an installation of that version: reading alone is a use
    usage.remove_unused.cache_clear()
    store = EmbeddingCache(tmp_path).rows("own")
    assert sorted(path.name for path in (tmp_path / "rows").iterdir()) == ["own", "used"]
    assert not store.missing(keys(1)).size
