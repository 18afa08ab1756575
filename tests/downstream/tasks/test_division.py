"""Divisions of a set that has none: lists that users bring, and ours, by hashes."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from byol_a.errors import UsageError
from downstream.tasks.base import Clip
from downstream.tasks.division import bare, divide_as_given, divide_here
from tests.downstream.tasks.layouts import write_lines, write_rows

SHARES = {"train": 0.7, "valid": 0.1, "test": 0.2}


def clips_of(groups: list[str], label: str = "x") -> list[Clip]:
    return [Clip(Path(f"{group}-{index}.wav"), (label,), "", group) for index, group in enumerate(groups)]


def test_units_are_never_divided_and_shares_are_kept() -> None:
    groups = [f"actor{index % 91}" for index in range(1000)]
    division = divide_here(clips_of(groups), groups, SHARES, "whole actors")
    parts = {(clip.group, clip.part) for clip in division.clips}
    assert len(parts) == 91 and Counter(part for _, part in parts) == {"train": 64, "valid": 9, "test": 18}
    assert division.source == "made here: whole actors by a hash of their names, 70 % train, 10 % valid, 20 % test"


def test_the_division_depends_on_names_alone() -> None:
    groups = [f"tone {index}" for index in range(50)]
    before = {clip.group: clip.part for clip in divide_here(clips_of(groups), groups, SHARES, "tones").clips}
    random.Random(0).shuffle(groups)
    groups = groups + groups[:7]  # another order, and other numbers of clips
    after = {clip.group: clip.part for clip in divide_here(clips_of(groups), groups, SHARES, "tones").clips}
    assert before == after
    # The same on any machine: Python's own hash() would change with every process.
    expected = ["valid", "train", "train", "valid", "test", "train", "train", "train", "train", "test"]
    assert [before[f"tone {index}"] for index in range(10)] == expected


def test_each_class_is_divided_by_itself() -> None:
    clips = clips_of([f"a{i}" for i in range(10)], "a") + clips_of([f"b{i}" for i in range(100)], "b")
    division = divide_here(clips, [str(clip.group) for clip in clips], SHARES, "clips", by_class=True)
    counts = Counter((clip.labels[0], clip.part) for clip in division.clips)
    assert [counts["a", part] for part in SHARES] == [7, 1, 2] and [counts["b", part] for part in SHARES] == [
        70,
        10,
        20,
    ]


@pytest.mark.parametrize("n_units", range(1, 12))
def test_few_units_still_fill_every_part(n_units: int) -> None:
    units = [str(index) for index in range(n_units)]
    counts = Counter(clip.part for clip in divide_here(clips_of(units), units, SHARES, "units").clips)
    assert sum(counts.values()) == n_units
    assert len(counts) == (3 if n_units >= 3 else len(counts))


def test_a_table_may_name_files_or_groups(tmp_path: Path) -> None:
    clips = clips_of(["ann", "ann", "bob", "cem"])
    names = [(clip.path.name,) for clip in clips]
    table = write_rows(tmp_path / "t.csv", ["group", "split"], [["ann", "Training"], ["bob", "dev"], ["cem", "eval"]])
    division = divide_as_given(clips, names, table)
    assert [clip.part for clip in division.clips] == ["train", "train", "valid", "test"]
    assert division.source == "given by t.csv" and not division.left_out
    table = write_rows(tmp_path / "f.csv", ["file_name", "fold"], [["ann-0", 1], ["ann-1.flac", 2], ["gone.wav", 2]])
    division = divide_as_given(clips, names, table)
    assert [(clip.path.name, clip.part) for clip in division.clips] == [("ann-0.wav", "1"), ("ann-1.wav", "2")]
    assert "2 clips are not in" in division.left_out and "1 of its 3 names are not found" in division.left_out


def test_a_folder_of_lists(tmp_path: Path) -> None:
    write_lines(tmp_path / "train_filtered.txt", ["./x\\ann-0.wav", "", "x/ann-1.wav"])
    write_lines(tmp_path / "test_filtered.txt", ["x/bob-2.au"])
    write_lines(tmp_path / "README.txt", ["about"])
    clips = clips_of(["ann", "ann", "bob"])
    division = divide_as_given(clips, [(f"x/{clip.path.name}",) for clip in clips], tmp_path)
    assert [clip.part for clip in division.clips] == ["train", "train", "test"]
    assert division.source == "given by test_filtered.txt, train_filtered.txt"


def test_a_clip_under_two_names_is_in_one_part(tmp_path: Path) -> None:
    rows = [["x/ann-0.wav", "train"], ["ann-0.wav", "train"], ["bob-1", "test"]]
    clips, names = clips_of(["ann", "bob"]), [("x/ann-0.wav", "ann-0.wav"), ("x/bob-1.wav", "bob-1.wav")]
    division = divide_as_given(clips, names, write_rows(tmp_path / "t.csv", ["file_name", "split"], rows))
    assert [clip.part for clip in division.clips] == ["train", "test"] and not division.left_out
    rows[1][1] = "test"
    with pytest.raises(UsageError, match=r"ann-0\.wav into test and train, as x/ann-0 and ann-0"):
        divide_as_given(clips, names, write_rows(tmp_path / "t.csv", ["file_name", "split"], rows))


@pytest.mark.parametrize(
    ("files", "given", "words"),
    [
        ({}, "nowhere.csv", ["nowhere.csv does not exist"]),
        ({"t.csv": "file_name,label\na.wav,x\n"}, "t.csv", ["columns file_name, label", "split (or fold)"]),
        ({"t.csv": "file_name,split\na.wav,later\n"}, "t.csv", ["line 2", "'later'", "train, valid and test"]),
        ({"t.csv": "file_name,fold\na.wav,\n"}, "t.csv", ["line 2", "no fold"]),
        ({"t.csv": "file_name,split\na.wav,train\nb,c.wav,test\n"}, "t.csv", ["line 3", "more cells than columns"]),
        ({"t.csv": "file_name,split\na.wav,train\n\nb.wav\n"}, "t.csv", ["line 4", "the split ''"]),
        ({"t.csv": "file_name,split\na.wav,train\nb.wav,train\n"}, "t.csv", ["one part"]),
        ({"t.csv": "file_name,split\na.wav,train\na.au,test\n"}, "t.csv", ["line 3", "'a'", "train already"]),
        ({"t.csv": "file_name,split\na.wav,train\nb.wav,test\n"}, "t.csv", ["none of the 1 clips", "'a'", "ann-0.wav"]),
        ({"l/train.txt": "a\n"}, "l", ["no list of the test part"]),
        ({"l/train.txt": "a\n", "l/train_2.txt": "b\n", "l/test.txt": "c\n"}, "l", ["both lists of the train part"]),
        ({"l/train.txt": "a\n", "l/test.txt": "b\na\n"}, "l", ["'a'", "already"]),
        ({"l/train.txt": "\n", "l/test.txt": "b\n"}, "l", ["train.txt is empty"]),
    ],
)
def test_lists_that_cannot_be_used(tmp_path: Path, files: dict[str, str], given: str, words: list[str]) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError) as caught:
        divide_as_given(clips_of(["ann"]), [("ann-0.wav",)], tmp_path / given)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("blues/blues.00029.wav", "blues/blues.00029"), ("jazz.00054", "jazz.00054"), (".\\a\\b.OGG", "a/b"), ("a", "a")],
)
def test_names_are_compared_without_audio_extensions(name: str, expected: str) -> None:
    assert bare(name) == expected
