"""CREMA-D's file names."""

from __future__ import annotations

from pathlib import Path

import pytest

from downstream.tasks import Clip, load_task
from tests.downstream.tasks.layouts import parts_of, refusal, touch, write_rows

CODES = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """All 91 actors with each emotion once, the file with a level of one letter, and what a Mac leaves behind."""
    for actor in range(1001, 1092):
        touch(tmp_path / "AudioWAV", *(f"{actor}_DFA_{code}_XX.wav" for code in CODES))
    touch(tmp_path / "AudioWAV", "1040_ITH_SAD_X.wav", "1001_IEO_ANG_HI.wav", "._1001_DFA_ANG_XX.wav", "notes.txt")
    return tmp_path


def test_emotions_and_actors(root: Path) -> None:
    task = load_task("cremad", root)
    assert (task.name, task.label, task.domain, task.unit_seconds) == ("cremad", "emotion", "speech", 2.5)
    assert task.classes == tuple(CODES.values()) and len(task.clips) == 91 * 6 + 2
    clip = next(clip for clip in task.clips if clip.path.name == "1040_ITH_SAD_X.wav")
    assert clip == Clip(root / "AudioWAV" / "1040_ITH_SAD_X.wav", ("sad",), clip.part, "1040")
    assert "548 clips of 6 classes are listed, of the 7,442" in task.warnings()[0]


def test_no_actor_is_in_two_parts(root: Path) -> None:
    task = load_task("cremad", root)
    parts = sorted({(str(clip.group), clip.part) for clip in task.clips})
    assert len(parts) == 91
    assert [sum(part == its for _, its in parts) for part in ("train", "valid", "test")] == [64, 9, 18]
    assert task.split_made_here and "whole actors" in task.split


@pytest.mark.parametrize("prefix", ["", "AudioWAV/"])
def test_a_users_list_by_file_or_by_actor(root: Path, prefix: str) -> None:
    rows = [[f"{prefix}{actor}_DFA_ANG_XX.wav", ("train", "val", "test")[actor % 3]] for actor in range(1001, 1092)]
    task = load_task("cremad", root, split=write_rows(root / "s.csv", ["file_name", "split"], rows))
    assert parts_of(task) == {"train": 30, "valid": 30, "test": 31} and "457 clips are not in" in task.left_out
    rows = [[str(actor), "train" if actor > 1020 else "test"] for actor in range(1001, 1092)]
    task = load_task("cremad", root, split=write_rows(root / "s.csv", ["group", "split"], rows))
    assert parts_of(task) == {"train": 71 * 6 + 1, "test": 20 * 6 + 1} and not task.left_out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (None, ["AudioWAV does not exist", "CREMA-D"]),
        ("AudioWAV", ["AudioWAV is not a folder", "CREMA-D"]),
        ("AudioWAV/readme.txt", ["no .wav file", "1001_DFA_ANG_XX.wav"]),
        ("AudioWAV/1001_DFA_JOY_XX.wav", ["1001_DFA_JOY_XX.wav", "ANG, DIS, FEA, HAP, NEU, SAD"]),
        ("AudioWAV/03-01-05-01-01-01-01.wav", ["03-01-05-01-01-01-01.wav", "not named as CREMA-D's"]),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, name: str | None, words: list[str]) -> None:
    if name:
        touch(tmp_path, name)
    for word in words:
        assert word in refusal("cremad", tmp_path)
