"""Finding sets below a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from byol_a.errors import UsageError
from downstream import suites
from downstream.suites import EVAR, find_tasks, suite_tasks


def make_esc(folder: Path) -> Path:
    (folder / "meta").mkdir(parents=True)
    (folder / "meta" / "esc50.csv").touch()
    (folder / "audio").mkdir()
    (folder / "audio" / "1-17092-A-2.wav").touch()
    return folder


def test_suites_hold_tasks_that_exist() -> None:
    everything = suite_tasks("all")
    assert set(EVAR) <= set(everything) and "folder" not in everything
    assert "esc50" in suite_tasks("environment") and "gtzan" in suite_tasks("music")
    assert suite_tasks("gtzan,esc50,gtzan") == ("gtzan", "esc50")
    assert suite_tasks("evar,fsdd") == (*EVAR, "fsdd")
    with pytest.raises(UsageError, match="did you mean 'esc50'"):
        suite_tasks("esc5")
    with pytest.raises(UsageError, match="names no task"):
        suite_tasks(",")


def test_sets_are_found_at_a_root_and_below_it(tmp_path: Path) -> None:
    at = make_esc(tmp_path / "unpacked" / "ESC-50-master")
    (tmp_path / "unpacked" / "unrelated").mkdir()
    for root in (tmp_path, tmp_path / "unpacked", at):
        search = find_tasks(["esc50", "gtzan"], [root], {})
        assert [(task.name, task.root) for task in search.found] == [("esc50", at)]
        assert list(search.missing) == ["gtzan"] and str(root) in search.missing["gtzan"]
    deep = tmp_path / "a" / "b" / "c" / "d" / "e"
    make_esc(deep)
    assert not find_tasks(["esc50"], [tmp_path / "a"], {}).found


def test_a_second_copy_is_said_and_the_user_decides(tmp_path: Path) -> None:
    first, second = make_esc(tmp_path / "a"), make_esc(tmp_path / "b")
    search = find_tasks(["esc50"], [tmp_path], {})
    assert [task.root for task in search.found] == [first] and str(second) in search.notes[0]
    assert not search.missing
    search = find_tasks(["esc50"], [tmp_path], {"esc50": [second]})
    assert [task.root for task in search.found] == [second] and not search.notes


def test_one_folder_under_two_names_is_one_set(tmp_path: Path) -> None:
    at = make_esc(tmp_path / "a")
    (tmp_path / "b").symlink_to(at)
    search = find_tasks(["esc50"], [tmp_path, tmp_path / "a" / "..", at], {})
    assert len(search.found) == 1 and not search.notes


def test_a_set_is_not_looked_for_inside_another_and_limits_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_esc(make_esc(tmp_path / "a") / "copy")
    assert not find_tasks(["esc50"], [tmp_path], {}).notes
    for number in range(20):
        (tmp_path / "0" / str(number)).mkdir(parents=True)
    monkeypatch.setattr(suites, "MOST_FOLDERS", 3)
    search = find_tasks(["esc50", "gtzan"], [tmp_path], {})
    assert "only the first 3 folders" in search.notes[0]


def test_hear_tasks_may_be_many(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "task_metadata.json").touch()
        (tmp_path / name / "labelvocabulary.csv").touch()
    search = find_tasks(["hear"], [tmp_path], {})
    assert [task.root.name for task in search.found] == ["a", "b"]
    given = find_tasks(["hear"], [], {"hear": [tmp_path / "b", tmp_path / "a"]})
    assert [task.root.name for task in given.found] == ["b", "a"]


def test_a_task_without_marks_wants_to_be_told_where_it_is(tmp_path: Path) -> None:
    assert "--at folder=FOLDER" in find_tasks(["folder"], [tmp_path], {}).missing["folder"]
    with pytest.raises(UsageError, match="is not a folder"):
        find_tasks(["folder"], [tmp_path / "nowhere"], {})
    with pytest.raises(UsageError, match="the suite has no task gtzan"):
        find_tasks(["esc50"], [tmp_path], {"gtzan": [tmp_path]})
