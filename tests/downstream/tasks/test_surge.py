"""Surge's folders, one for each tone, with a file for each note."""

from __future__ import annotations

from pathlib import Path

import pytest

from downstream.tasks import Clip, load_task
from tests.downstream.tasks.layouts import parts_of, refusal, touch, write_rows

TONES = [f"Bass {index} #2, (FM)" for index in range(9)] + ["pad"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten tones, some with awkward names, with four notes each."""
    for tone in TONES:
        touch(tmp_path / f"{tone}-velocity64", "21.ogg", "60.ogg", "100.ogg", "108.ogg")
    return tmp_path


def test_pitches_and_whole_tones(root: Path) -> None:
    task = load_task("surge", root)
    assert (task.name, task.label, task.domain, task.unit_seconds) == ("surge", "pitch", "music", 4.0)
    assert task.classes == ("21", "60", "100", "108") and task.metrics == ("pitch_accuracy", "chroma_accuracy")
    assert parts_of(task) == {"train": 32, "valid": 4, "test": 4}
    assert len({(clip.group, clip.part) for clip in task.clips}) == 10
    clip = next(clip for clip in task.clips if clip.group == "pad")
    assert clip == Clip(root / "pad-velocity64" / "100.ogg", ("100",), clip.part, "pad")
    assert task.split_made_here and "whole tones" in task.split and not task.left_out


def test_a_users_list_by_tone_or_by_file(root: Path) -> None:
    rows = [[tone, "test" if tone == "pad" else "train"] for tone in TONES]
    task = load_task("surge", root, split=write_rows(root / "tones.csv", ["group", "split"], rows))
    assert parts_of(task) == {"train": 36, "test": 4} and task.split == "given by tones.csv"
    rows = [[f"{tone}-velocity64/60.ogg", "test" if tone == "pad" else "train"] for tone in TONES]
    task = load_task("surge", root, split=write_rows(root / "files.csv", ["file_name", "split"], rows))
    assert parts_of(task) == {"train": 9, "test": 1} and "30 clips are not in" in task.left_out


def test_what_is_no_note_is_said(root: Path) -> None:
    touch(root, "pad-velocity64/20.ogg", "pad-velocity64/demo.ogg", "pad-velocity127/60.ogg")
    task = load_task("surge", root)
    assert len(task.clips) == 40
    assert "3 files could not be used: 2 elsewhere, 1 out of range" in task.left_out


def test_another_layout_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "pad/60.ogg")
    said = refusal("surge", tmp_path)
    assert "<tone>-velocity64/<MIDI number>.ogg" in said and str(tmp_path) in said
