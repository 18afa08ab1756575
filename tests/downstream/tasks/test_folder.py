"""Any labelled audio: folders of classes, or a table."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import pytest

from downstream.tasks import Clip, load_task
from tests.downstream.tasks.layouts import parts_of, refusal, touch, write_rows


def labelled(root: Path, *folders: str, files: int = 5) -> Path:
    for folder in folders:
        touch(root / folder, *(f"{index}.wav" for index in range(files)))
    return root


@pytest.mark.parametrize("part_names", [(), ("train", "val", "test"), ("Training", "eval")])
def test_classes_and_parts(tmp_path: Path, part_names: tuple[str, ...]) -> None:
    labelled(tmp_path, *(f"{part}/{name}/deep" for part in part_names or (".",) for name in ("cat", "dog")))
    task = load_task("folder", tmp_path)
    assert (task.name, task.domain, task.classes) == ("folder", "any", ("cat", "dog"))
    assert all(clip.path.parent.parent.name == clip.labels[0] for clip in task.clips)
    if part_names:
        expected = {"train", "valid", "test"} if "val" in part_names else {"train", "test"}
        assert not task.split_made_here and set(parts_of(task)) == expected
    else:
        assert task.split_made_here and len(task.folds) == 5
        assert any("no official split was given" in warning for warning in task.warnings())
        for part in task.rounds():  # stratified: both classes in every test fold
            assert {task.clips[index].labels for index in part.test} == {("cat",), ("dog",)}


def test_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled(tmp_path, "cat", "dog")
    monkeypatch.chdir(tmp_path)
    assert load_task("folder", ".").clips[0].path == Path("cat/0.wav")


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    labelled(tmp_path, "dog")
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)  # noqa: PTH102
    for index in range(5):
        open(folder + b"/\xff%d.wav" % index, "w").close()  # noqa: PTH123
    task = load_task("folder", tmp_path)
    assert "caf\udce9" in task.classes and all(clip.path.is_file() for clip in task.clips)


def test_folders_without_audio_do_not_hide_the_parts(tmp_path: Path) -> None:
    labelled(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog")
    touch(tmp_path, "docs/readme.txt")
    (tmp_path / "empty").mkdir()
    task = load_task("folder", tmp_path)
    assert task.classes == ("cat", "dog") and task.split == "given by the folders test, train"


def test_a_table(tmp_path: Path) -> None:
    table = write_rows(
        tmp_path / "t.csv",
        ["file_name", "label", "split", "group"],
        [["a.wav", "cat", "train", "x"], ["b.wav", "dog", "Validation", ""], ["/abs/c.wav", "dog", "test", "y"]],
    )
    task = load_task("folder", tmp_path, csv=table)
    assert task.clips[0] == Clip(tmp_path / "a.wav", ("cat",), "train", "x")
    assert [clip.part for clip in task.clips] == ["train", "valid", "test"] and task.clips[2].path == Path("/abs/c.wav")
    assert task.clips[1].group is None and task.metrics == ("accuracy",) and not task.multi_label


def test_cells_at_a_rows_end_may_be_missing(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("file_name,label,group\na,cat,x\nb,dog\nc,cat\nd,dog\ne,cat\n")
    assert [clip.group for clip in load_task("folder", tmp_path, csv=table).clips] == ["x", None, None, None, None]


def test_classes_of_thousands_of_digits_are_sorted(tmp_path: Path) -> None:
    names = ["1" * 5000, "word", "10", "9", "09", "0"]
    rows = [[f"{index}-{take}.wav", name] for index, name in enumerate(names) for take in range(2)]
    task = load_task("folder", tmp_path, csv=write_rows(tmp_path / "t.csv", ["file_name", "label"], rows))
    assert task.classes == ("0", "09", "9", "10", "1" * 5000, "word")


def test_a_comma_makes_a_table_multi_label(tmp_path: Path) -> None:
    rows: list[list[object]] = [["a.wav", "cat, dog", 1], ["b.wav", "dog", 2], ["c.wav", "", 2]]
    task = load_task("folder", tmp_path, csv=write_rows(tmp_path / "t.csv", ["file_name", "label", "fold"], rows))
    assert task.multi_label and task.metrics[0] == "macro_map"
    assert [clip.labels for clip in task.clips] == [("cat", "dog"), ("dog",), ()]
    assert task.folds == ("1", "2") and not task.split_made_here


@pytest.mark.parametrize("first_group", ["g0", " "])
def test_made_folds_keep_groups_together(tmp_path: Path, first_group: str) -> None:
    rows: list[list[object]] = [[f"{i}.wav", "ab"[i % 2], f"g{i // 4}" if i else first_group] for i in range(40)]
    task = load_task("folder", tmp_path, csv=write_rows(tmp_path / "t.csv", ["file_name", "label", "group"], rows))
    folds_of = defaultdict(set)
    for clip in task.clips:
        folds_of[clip.group].add(clip.part)
    assert all(len(folds) == 1 for folds in folds_of.values())
    assert "group-wise" in task.split and task.clips[0].group == (first_group.strip() or None)


def test_audio_that_is_left_out_is_said(tmp_path: Path) -> None:
    labelled(tmp_path, "cat", "dog")
    touch(tmp_path, "cat/phone.m4a")
    (tmp_path / "dog" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    task = load_task("folder", tmp_path)
    assert len(task.clips) == 10
    (said,) = [warning for warning in task.warnings() if "could not be used" in warning]
    assert "2 files could not be used: 1 unreadable, 1 unsupported" in said and "phone.m4a" in said


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        ([""], ["0.wav", "<class>"]),
        (["cat"], ["1 class"]),
        (["train/cat", "train/dog", "test/cat", "test/dog", "extra/cat"], ["extra"]),
        (["train/cat", "train/dog", "valid/cat"], ["train and valid but no test folder"]),
        (["train/cat", "train/dog", "test/cat", "test/dog", "train"], ["train/<class>/"]),
        ([], ["no audio file"]),
    ],
)
def test_folders_that_are_refused(tmp_path: Path, folders: list[str], words: list[str]) -> None:
    labelled(tmp_path, *folders)
    for word in words:
        assert word in refusal("folder", tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["t.csv", "does not exist"]),
        ("file_name,label,split\na,x,train\nb,y,later\n", ["line 3", "'later'"]),
        ("file_name,label\na,x\nb\n", ["line 3", "fewer cells"]),
        ("file_name,label\na,x\nb,\n", ["line 3", "no label"]),
        ("file_name,label\n", ["no rows"]),
        ("file_name,label,fold\na,x,1\nb,y,\n", ["line 3 has no fold"]),
        ("file_name,label,fold\na,x,1\nb,y,1\n", ["one fold only"]),
        ("path,label\na,x\n", ["no column 'file_name'"]),
        ("file_name,label\na,x\nb,x,y\n", ["line 3 has more cells than columns; quote cells that hold commas"]),
        ('file_name,label,split\n\n"a",x,train\n\nb,"y\ny",train\nc,z,later\n', ["line 7", "'later'"]),
        ('file_name,label\na,x\n\nb,"y\ny"\nc,\n', ["line 6", "no label"]),
        ("file_name,label\na.wav,cat\nb.wav,dog\nsub/../a.wav,dog\n", ["lines 2 and 4", "labels in one cell"]),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, text: str | None, words: list[str]) -> None:
    if text is not None:
        (tmp_path / "t.csv").write_text(text)
    for word in words:
        assert word in refusal("folder", tmp_path, csv=tmp_path / "t.csv")
