"""Digests of files: of their contents, remembered as long as a file stays as it is."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from downstream.features import digests
from downstream.features.digests import file_digests


def digests_of(paths: list[Path], memory: Path | None) -> list[bytes]:
    return file_digests(paths, memory).contents


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read, as they are."""
    monkeypatch.setattr(digests, "SETTLED_SECONDS", 0.0)
    names: list[str] = []
    digest_of = digests._digest_of

    def counted(name: str) -> bytes:
        names.append(Path(name).name)
        return digest_of(name)

    monkeypatch.setattr(digests, "_digest_of", counted)
    return names


def test_files_are_read_once_until_they_change(tmp_path: Path, read: list[str]) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_text(path.name)
    memory = tmp_path / "cache" / "digests"
    first = digests_of([*paths, paths[0]], memory)
    assert first[0] == first[3] and len(set(first)) == 3 and sorted(read) == ["a", "b", "c"]
    assert digests_of(paths[::-1], memory) == first[2::-1] and len(read) == 3
    stamps = paths[1].stat()
    paths[1].write_text("B")  # the same size, and then the same times
    os.utime(paths[1], ns=(stamps.st_atime_ns, stamps.st_mtime_ns))
    changed = digests_of(paths, memory)
    assert read[3:] == ["b"] and changed[1] != first[1] and changed[::2] == first[:3:2]
    moved = paths[0].rename(tmp_path / "z")
    assert digests_of([moved], memory) == first[:1]  # of contents, not of names


def test_a_file_that_has_just_changed_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("a")
    before = digests_of([tmp_path / "a"], tmp_path / "memory")
    stamps = (tmp_path / "a").stat()
    (tmp_path / "a").write_text("b")
    # As if all of it had happened within a tick of the file system's clock.
    monkeypatch.setattr(digests, "_state", lambda name: digests._State(1, stamps.st_mtime_ns, stamps.st_ctime_ns, 1))
    assert digests_of([tmp_path / "a"], tmp_path / "memory") != before


def test_a_file_from_the_future_is_remembered(tmp_path: Path, read: list[str]) -> None:
    (tmp_path / "a").write_text("a")
    os.utime(tmp_path / "a", (time.time() + 1e6,) * 2)
    for _ in range(2):
        digests_of([tmp_path / "a"], tmp_path / "memory")
    assert len(read) == 1


def test_what_is_current_holds_what_was_digested(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("same", "touched", "changed", "gone", "missing", "new")]
    for path in paths[:4]:
        path.write_text("x")
    digests = file_digests(paths, tmp_path / "memory")
    paths[1].touch()
    paths[2].write_text("y")
    paths[3].unlink()
    paths[5].write_text("x")
    assert [digests.is_current(place) for place in range(6)] == [True, True, False, False, True, False]


def test_what_is_no_file_has_a_digest_and_is_asked_each_time(tmp_path: Path, read: list[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    paths = [tmp_path / "pipe", tmp_path / "missing", tmp_path, Path("nul\0name")]
    for _ in range(2):
        assert all(len(digest) == 16 for digest in digests_of(paths, tmp_path / "memory"))
    assert read.count("missing") == 2
    (tmp_path / "missing").write_text("found")
    assert digests_of(paths, tmp_path / "memory")[1] != digests_of(paths[3:], None)[0]


def test_names_that_are_not_utf_8(tmp_path: Path, read: list[str]) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    path.write_text("x")
    for _ in range(2):
        digests_of([path], tmp_path / "memory")
    assert len(read) == 1


@pytest.mark.parametrize("damage", ["text", "header", "middle", "folder", "other table"])
def test_a_damaged_memory_costs_reading_only(tmp_path: Path, read: list[str], damage: str) -> None:
    paths = []
    for number in range(200):
        paths.append(tmp_path / f"{number}.wav")
        paths[-1].write_text(str(number))
    memory = tmp_path / "memory"
    expected = digests_of(paths, memory)
    whole = memory.read_bytes()
    if damage == "folder":
        memory.unlink()
        memory.mkdir()
    elif damage == "other table":
        import sqlite3

        memory.unlink()
        table = sqlite3.connect(memory)
        table.execute("CREATE TABLE digests (x INTEGER)")
        table.close()
    else:
        half = len(whole) // 2
        memory.write_bytes(
            {"text": b"not a database", "header": b"\xff" * 100 + whole[100:], "middle": whole[:half] + b"\xff" * half}[
                damage
            ]
        )
    for _ in range(2):
        assert digests_of(paths, memory) == expected
    before = len(read)
    assert digests_of(paths, memory) == expected
    assert len(read) == before or damage == "folder"  # in whose place nothing can be remembered


def test_many_files_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: list[str]) -> None:
    monkeypatch.setattr(digests, "_AT_ONCE", 7)
    paths = []
    for number in range(40):
        paths.append(tmp_path / str(number))
        paths[-1].write_text(str(number % 5))
    one = digests_of(paths, tmp_path / "memory")
    assert one == digests_of(paths, tmp_path / "memory") and len(set(one)) == 5 and len(read) == 40
