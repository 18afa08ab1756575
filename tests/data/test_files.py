"""Finding audio files: order, links, hidden and unsupported files, and what is an error."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from byol_a.data.files import find_audio
from byol_a.data.report import FileReport
from byol_a.errors import UsageError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(found: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in found]


def test_folders_are_walked_recursively_and_sorted(tmp_path: Path) -> None:
    wanted = ["B.FLAC", "a.wav", "deep/er/c.ogg", "deep/z.mp3", "é.opus"]
    touch(*(tmp_path / name for name in wanted), tmp_path / "notes.txt", tmp_path / "wav")
    found = find_audio([tmp_path])
    assert names(found, tmp_path) == sorted(wanted)
    assert found == find_audio([str(tmp_path), tmp_path / "a.wav"])


def test_an_explicit_file_is_kept_whatever_its_extension(tmp_path: Path) -> None:
    touch(tmp_path / "sound.bin", tmp_path / ".hidden.wav")
    given = [tmp_path / ".hidden.wav", tmp_path / "sound.bin"]
    assert find_audio(reversed(given)) == given


def test_hidden_files_and_folders_are_skipped(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav", tmp_path / "._a.wav", tmp_path / ".cache" / "b.wav")
    assert names(find_audio([tmp_path]), tmp_path) == ["a.wav"]


def test_a_relative_folder_gives_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "clips" / "a.wav")
    monkeypatch.chdir(tmp_path)
    assert find_audio(["clips"]) == [Path("clips/a.wav")]


def test_symlink_loops_end(tmp_path: Path) -> None:
    touch(tmp_path / "one" / "a.wav", tmp_path / "two" / "b.wav")
    (tmp_path / "self").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "one" / "up").symlink_to("..", target_is_directory=True)
    (tmp_path / "one" / "to_two").symlink_to("../two", target_is_directory=True)
    (tmp_path / "two" / "to_one").symlink_to("../one", target_is_directory=True)
    assert names(find_audio([tmp_path]), tmp_path) == ["one/a.wav", "two/b.wav"]


def test_a_link_to_itself_costs_nothing_but_itself(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav", tmp_path / "sub" / "b.wav")
    for path in (tmp_path / "self.wav", tmp_path / "sub" / "self"):
        path.symlink_to(path.name)
    report = FileReport()
    assert names(find_audio([tmp_path], report), tmp_path) == ["a.wav", "sub/b.wav"]
    assert [path for path, _ in report.items()] == [str(tmp_path / "self.wav"), str(tmp_path / "sub" / "self")]


@pytest.mark.parametrize("backwards", [False, True])
def test_a_folder_is_walked_once_however_many_links_lead_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backwards: bool
) -> None:
    top, outside = tmp_path / "top", tmp_path / "outside"
    touch(top / "3" / "a.wav", outside / "deep" / "b.wav")
    for name in map(str, range(7)):
        (top / name).mkdir(exist_ok=True)
        (top / name / "out").symlink_to(outside, target_is_directory=True)
        for other in set("0123456") - {name}:
            (top / name / other).symlink_to(top / other, target_is_directory=True)
    listing = os.scandir
    if backwards:  # file systems list in any order
        monkeypatch.setattr(
            os, "scandir", lambda folder: nullcontext(sorted(listing(folder), key=lambda e: e.name, reverse=True))
        )
    # Under its own name what has one below the top, under the first link's what has none.
    assert names(find_audio([top]), top) == ["0/out/deep/b.wav", "3/a.wav"]
    assert find_audio([top, outside]) == [outside / "deep" / "b.wav", top / "3" / "a.wav"]


def test_inputs_that_name_the_same_files_give_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "a" / "x.wav", tmp_path / "a" / "deep" / "y.wav")
    (tmp_path / "a" / "same.wav").symlink_to("x.wav")
    monkeypatch.chdir(tmp_path)
    whole = [Path("a/deep/y.wav"), Path("a/same.wav"), Path("a/x.wav")]
    assert find_audio(["a", tmp_path / "a", "a/deep", "a/../a"]) == whole
    assert find_audio([".", "a/x.wav", "a"]) == whole
    x = tmp_path / "a" / "x.wav"
    assert find_audio(["a/x.wav", x]) == [Path("a/x.wav")]
    assert find_audio(["a", x]) == [x, *whole[:2]]


def test_links_to_files_are_followed_and_broken_ones_reported(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav")
    (tmp_path / "link.wav").symlink_to("a.wav")
    (tmp_path / "broken.wav").symlink_to("gone.wav")
    report = FileReport()
    assert names(find_audio([tmp_path], report), tmp_path) == ["a.wav", "link.wav"]
    assert report.items() == [(str(tmp_path / "broken.wav"), "unreadable: not a file, or a link to nothing")]


def test_a_pipe_named_like_audio_is_not_taken(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    assert names(find_audio([tmp_path]), tmp_path) == ["a.wav"]


def test_unsupported_audio_is_named(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav", tmp_path / "b.M4A")
    report = FileReport()
    assert names(find_audio([tmp_path], report), tmp_path) == ["a.wav"]
    assert report.items()[0][1].startswith("unsupported: .m4a")
    (tmp_path / "a.wav").unlink()
    with pytest.raises(UsageError, match="1 unsupported"):
        find_audio([tmp_path])


def test_an_unlistable_folder_is_skipped_below_and_refused_on_top(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "a.wav", tmp_path / "locked" / "b.wav")
    # The superuser may list anything, so that permissions alone would not test this everywhere.
    listable = os.scandir

    def scandir(folder: str) -> object:
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied", folder)
        return listable(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    report = FileReport()
    assert names(find_audio([tmp_path], report), tmp_path) == ["a.wav"]
    assert report.items() == [(str(tmp_path / "locked"), "unreadable: Permission denied")]
    with pytest.raises(UsageError, match="cannot be listed"):
        find_audio([tmp_path / "locked"])


@pytest.mark.parametrize("inputs", [["missing"], []])
def test_what_is_not_there_is_a_usage_error(inputs: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        find_audio([tmp_path / name for name in inputs])


def test_a_folder_without_audio_is_a_usage_error(tmp_path: Path) -> None:
    touch(tmp_path / "notes.txt")
    with pytest.raises(UsageError, match="no audio file was found"):
        find_audio([tmp_path])
