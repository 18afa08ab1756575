"""AudioSet: tables with three header lines, ids in the names of files, and most copies incomplete."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from downstream.tasks import Task, load_task, read_task_recipe
from tests.downstream.tasks.layouts import parts_of, refusal, touch, write_lines, write_rows

HEADER = [
    "# Segments csv created Sun Mar  5 10:54:31 2017",
    "# num_ytids=3, num_segs=3, num_unique_labels=4, num_positive_labels=5",
    "# YTID, start_seconds, end_seconds, positive_labels",
]
LABELS = [
    (0, "/m/09x0r", "Speech"),
    (1, "/m/05zppz", "Male speech, man speaking"),
    (2, "/m/04rlf", "Music"),
    (3, "/t/dd00088", "Gush"),
]
BALANCED = [
    '--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"',
    'Yab_cdef-_Z, 420.000, 430.000, "/m/04rlf"',
    'AAAAAAAAAAA, 0.000, 10.000, "/m/04rlf"',
]
UNBALANCED = [
    '---1_cCGK4M, 0.000, 10.000, "/m/04rlf,/m/05zppz,/m/09x0r"',
    'BBBBBBBBBBB, 0.000, 9.000, "/m/04rlf"',
]
EVAL = ['-0RWZT-miFs, 420.000, 430.000, "/m/05zppz"', 'CCCCCCCCCCC, 0.000, 10.000, "/m/04rlf"']


def write_tables(folder: Path) -> None:
    write_lines(folder / "balanced_train_segments.csv", HEADER + BALANCED)
    write_lines(folder / "unbalanced_train_segments.csv", HEADER + UNBALANCED)
    write_lines(folder / "eval_segments.csv", HEADER + EVAL)
    write_rows(folder / "class_labels_indices.csv", ["index", "mid", "display_name"], LABELS)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy in which every part lacks a clip, with the names that different downloaders give."""
    write_tables(tmp_path)
    touch(
        tmp_path,
        "audio/bal_train/--PJHxphWEs.flac",
        "audio/bal_train/YYab_cdef-_Z_420.000_430.000.wav",  # an id that begins with Y itself
        "audio/unbal_train/00/Y---1_cCGK4M.wav",
        "audio/eval/-0RWZT-miFs_420000_430000.wav",
        "audio/eval/not_of_this_set.wav",
        "audio/eval/notes.txt",
    )
    return tmp_path


def labels_of(task: Task) -> dict[str, tuple[set[str], str]]:
    assert all(clip.path.is_file() and clip.section is None for clip in task.clips)
    return {clip.path.name: (set(clip.labels), clip.part) for clip in task.clips}


def test_the_balanced_part(root: Path) -> None:
    task = load_task("audioset20k", root)
    assert (task.name, task.domain, task.unit_seconds, task.multi_label) == ("audioset20k", "environment", 10.0, True)
    assert task.metrics == ("macro_map", "d_prime", "lwlrap")
    assert task.split == "official balanced train and eval" and not task.split_made_here
    assert labels_of(task) == {
        "--PJHxphWEs.flac": ({"Speech", "Gush"}, "train"),
        "YYab_cdef-_Z_420.000_430.000.wav": ({"Music"}, "train"),
        "-0RWZT-miFs_420000_430000.wav": ({"Male speech, man speaking"}, "test"),
    }


def test_all_of_the_training_part(root: Path) -> None:
    task = load_task("audioset", root)
    assert read_task_recipe("audioset").recognises(root) and read_task_recipe("audioset20k").recognises(root)
    assert parts_of(task) == {"train": 3, "test": 1} and task.name == "audioset"
    found = labels_of(task)
    assert found["Y---1_cCGK4M.wav"] == ({"Music", "Speech", "Male speech, man speaking"}, "train")
    assert "3 of the 5 segments to train on and 1 of the 2 to test on" in task.warnings()[0]


def test_classes_are_those_of_the_table_in_its_order(root: Path) -> None:
    assert load_task("audioset20k", root).classes == ("Speech", "Male speech, man speaking", "Music", "Gush")


def test_what_is_missing_is_counted(root: Path) -> None:
    first, second, *_ = load_task("audioset20k", root).warnings()
    assert f"2 of the 3 segments to train on and 1 of the 2 to test on were found in {root}" in first
    assert "3 clips of 4 classes are listed, of the 42,531" in second
    touch(root, "more/AAAAAAAAAAA.wav", "more/YCCCCCCCCCCC.wav")
    assert not load_task("audioset20k", root).left_out
    touch(root, "more/YBBBBBBBBBBB.m4a")
    assert "1 path there could not be used" in load_task("audioset20k", root).left_out


def test_of_two_files_of_a_segment_the_first_is_taken(root: Path) -> None:
    before = load_task("audioset20k", root)
    touch(root, "audio/later/--PJHxphWEs.wav", "audio/later/Y-0RWZT-miFs.wav")
    assert load_task("audioset20k", root).clips == before.clips


def test_tables_may_lie_deeper(tmp_path: Path) -> None:
    write_tables(tmp_path / "metadata" / "csv")
    touch(tmp_path, "--PJHxphWEs.wav", "CCCCCCCCCCC.wav")
    assert parts_of(load_task("audioset20k", tmp_path)) == {"train": 1, "test": 1}


def test_the_folder_that_holds_tables_and_audio_is_recognised(root: Path, tmp_path: Path) -> None:
    recipes = [read_task_recipe(name) for name in ("audioset", "audioset20k")]
    assert all(recipe.recognises(root) and not recipe.recognises(root.parent) for recipe in recipes)
    apart = tmp_path / "more" / "audioset"
    write_tables(apart / "csv")
    assert not any(recipe.recognises(apart) for recipe in recipes)  # tables alone are nothing to score on
    touch(tmp_path / "elsewhere" / "00", "--PJHxphWEs.flac")
    (apart / "audio").symlink_to(tmp_path / "elsewhere")
    for recipe in recipes:
        assert recipe.recognises(apart) and not recipe.recognises(apart / "csv") and not recipe.recognises(apart.parent)
    assert "(eval_segments.csv or */eval_segments.csv) and audio below" in recipes[0].marks


def test_names_that_are_no_text_are_left_out(root: Path) -> None:
    clips = load_task("audioset20k", root).clips
    for name in (b"YAAAAAAAAAAA\xff.wav", b"\xe9/CCCCCCCCCCC.wav"):
        path = Path(os.fsdecode(os.fsencode(root) + b"/audio/" + name))
        path.parent.mkdir(exist_ok=True)
        path.touch()
    touch(root, "audio/ärger/notes.wav")
    task = load_task("audioset20k", root)
    assert task.clips == clips
    assert "2 paths there could not be used" in task.left_out and "misnamed: no UTF-8" in task.left_out
    task.left_out.encode()


def test_labels_of_one_name_are_told_apart(root: Path) -> None:
    rows = [*LABELS[:3], (3, "/t/dd00088", "Music")]
    write_rows(root / "class_labels_indices.csv", ["index", "mid", "display_name"], rows)
    assert load_task("audioset20k", root).classes[2:] == ("Music (/m/04rlf)", "Music (/t/dd00088)")


@pytest.mark.parametrize(
    ("task", "table", "lines", "words"),
    [
        ("audioset20k", "eval_segments.csv", None, ["no eval_segments.csv in", "balanced_train_segments.csv"]),
        ("audioset", "unbalanced_train_segments.csv", None, ["no unbalanced_train_segments.csv"]),
        ("audioset20k", "class_labels_indices.csv", None, ["no class_labels_indices.csv"]),
        ("audioset20k", "class_labels_indices.csv", ["index,mid", "0,/m/09x0r"], ["no column 'display_name'"]),
        ("audioset20k", "eval_segments.csv", HEADER, ["eval_segments.csv has no rows"]),
        ("audioset20k", "eval_segments.csv", [*HEADER, "no segment"], ["eval_segments.csv, line 4 is 'no segment'"]),
        ("audioset20k", "eval_segments.csv", [*HEADER, '-0RWZT-miFs, 0, 9, "/m/0"'], ["test part", "'/m/0'"]),
        ("audioset20k", "eval_segments.csv", [*HEADER, 'CCCCCCCCCCC, 0, 9, "/m/04rlf"'], ["test part", "<id>.wav"]),
    ],
)
def test_another_layout(root: Path, task: str, table: str, lines: list[str] | None, words: list[str]) -> None:
    if lines is None:
        (root / table).unlink()
    else:
        write_lines(root / table, lines)
    message = refusal(task, root)
    assert all(word in message for word in words), message


def test_no_audio_at_all(tmp_path: Path) -> None:
    write_tables(tmp_path)
    assert "none of the 0 audio files" in refusal("audioset20k", tmp_path)
