"""UrbanSound8K's table and its ten folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from downstream.tasks import Clip, load_task, read_task_recipe
from downstream.tasks.urbansound8k import CLASSES
from tests.downstream.tasks.layouts import parts_of, refusal, touch, write_lines, write_rows

HEADER = ["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"]
TABLE = "metadata/UrbanSound8K.csv"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two excerpts of one recording a fold, in the order of the real table: by recording, not by fold."""
    rows = []
    for fold in (5, 10, 2, 1, 3, 4, 6, 7, 8, 9):
        number = fold - 1
        for piece in range(2):
            file = f"{100000 + fold}-{number}-0-{piece}.wav"
            rows.append([file, 100000 + fold, 0.5 * piece, 0.5 * piece + 4, 1, fold, number, CLASSES[number]])
            touch(tmp_path / "audio" / f"fold{fold}", file)
    touch(tmp_path, "audio/fold1/.DS_Store")
    write_rows(tmp_path / TABLE, HEADER, rows)
    return tmp_path


def test_ten_official_folds(root: Path) -> None:
    assert read_task_recipe("us8k").recognises(root)
    task = load_task("us8k", root)
    assert (task.name, task.title, task.domain, task.unit_seconds) == ("us8k", "UrbanSound8K", "environment", 4.0)
    assert task.classes == CLASSES and task.metrics == ("accuracy",)
    assert task.folds == tuple(str(fold) for fold in range(1, 11)) and set(parts_of(task).values()) == {2}
    assert task.split == "10 official folds" and not task.split_made_here
    assert task.clips[0] == Clip(root / "audio" / "fold5" / "100005-4-0-0.wav", ("drilling",), "5", "100005")
    assert all(clip.path.is_file() for clip in task.clips)


def test_no_recording_is_in_two_folds(root: Path) -> None:
    clips = load_task("us8k", root).clips
    assert len({(clip.group, clip.part) for clip in clips}) == len({clip.group for clip in clips}) == 10


def test_a_partial_copy_is_a_warning(root: Path) -> None:
    assert "20 clips of 10 classes are listed, of the 8,732" in load_task("us8k", root).warnings()[0]


def test_a_missing_fold_is_an_error(root: Path) -> None:
    for file in (root / "audio" / "fold7").iterdir():
        file.unlink()
    (root / "audio" / "fold7").rmdir()
    assert "fold7 does not exist; the folder of UrbanSound8K's fold 7" in refusal("us8k", root)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("100005-4-0-0.wav,1,0,4,1,1,0,siren", "lines 2 and 22 name the same file '100005-4-0-0.wav'"),  # fold 5 and 1
        ("../fold5/x.wav,1,0,4,1,1,0,siren", "line 22 names the file '../fold5/x.wav'"),
        ("/etc/passwd,1,0,4,1,1,0,siren", "line 22 names the file '/etc/passwd'"),
        ("a.wav,1,0,4,1,1,0,siren,x", "line 22 has more cells"),
    ],
)
def test_rows_that_are_refused(root: Path, row: str, words: str) -> None:
    with (root / TABLE).open("a") as stream:
        stream.write(f"{row}\n")
    assert words in refusal("us8k", root)


def test_a_file_is_no_fold(root: Path) -> None:
    (root / "audio" / "fold7").rename(root / "away")
    touch(root, "audio/fold7")
    assert "fold7 is not a folder" in refusal("us8k", root)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (None, ["UrbanSound8K.csv does not exist"]),
        (["slice_file_name,fsID,fold,classID", "a.wav,1,1,0"], ["has no column 'class'"]),
        ([",".join(HEADER), "a.wav,1,0,4,1,1,0,barking"], ["line 2", "'barking'", "dog_bark"]),
        ([",".join(HEADER), "a.wav,1,0,4,1,11,0,siren"], ["line 2", "fold '11'", "1 to 10"]),
    ],
)
def test_another_layout(tmp_path: Path, lines: list[str] | None, words: list[str]) -> None:
    if lines is not None:
        write_lines(tmp_path / TABLE, lines)
    message = refusal("us8k", tmp_path)
    assert all(word in message for word in words), message
