"""FSDD's file names: digits by speakers left out, speakers by the official test part."""

from __future__ import annotations

from pathlib import Path

import pytest

from downstream.tasks import Clip, load_task
from tests.downstream.tasks.layouts import parts_of, refusal, touch


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three digits of two speakers, two recordings of each on either side of the official division."""
    for digit in range(3):
        for speaker in ("ann", "bob"):
            touch(tmp_path / "recordings", *(f"{digit}_{speaker}_{index}.wav" for index in (0, 4, 5, 11)))
    return tmp_path


def test_digits_leave_a_speaker_out(root: Path) -> None:
    task = load_task("fsdd", root)
    assert (task.name, task.label, task.domain, task.unit_seconds) == ("fsdd", "digit", "speech", None)
    assert task.classes == ("0", "1", "2") and task.folds == ("ann", "bob")
    assert task.clips[0] == Clip(root / "recordings" / "0_ann_0.wav", ("0",), "ann", "ann")
    for part in task.rounds():
        assert {task.clips[index].part for index in part.test} == {part.name}
        assert {task.clips[index].group for index in part.train} == {"ann", "bob"} - {part.name}
    assert "24 clips of 3 classes are listed, of the 3,000" in task.warnings()[0]


def test_speakers_by_the_official_test_part(root: Path) -> None:
    task = load_task("fsdd_speaker", root)
    assert task.classes == ("ann", "bob") and parts_of(task) == {"train": 12, "test": 12}
    (part,) = task.rounds()
    assert {task.clips[index].path.stem.split("_")[2] for index in part.test} == {"0", "4"}


def test_what_a_mac_leaves_behind_is_no_recording(root: Path) -> None:
    before = load_task("fsdd", root)
    touch(root, "recordings/._0_ann_0.wav", "recordings/.DS_Store")
    assert load_task("fsdd", root).clips == before.clips


def test_the_real_recordings(real_data: Path) -> None:
    digits, speakers = load_task("fsdd", real_data / "fsdd"), load_task("fsdd_speaker", real_data / "fsdd")
    assert (len(digits.clips), len(digits.classes), len(digits.folds)) == (3000, 10, 6)
    assert len(speakers.classes) == 6 and parts_of(speakers) == {"train": 2700, "test": 300}
    assert not digits.warnings() and not speakers.warnings()
    assert all(clip.path.is_file() for clip in digits.clips)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        (None, {}, ["recordings does not exist"]),
        ("recordings/x.txt", {}, ["no .wav", "digit_speaker_index"]),
        ("recordings/seven.wav", {}, ["seven.wav", "digit_speaker_index"]),
        ("recordings/0_a_0.wav", {"label": "mood"}, ["'mood'", "digit and speaker"]),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, name: str | None, options: dict[str, str], words: list[str]) -> None:
    if name:
        touch(tmp_path, name)
    for word in words:
        assert word in refusal("fsdd", tmp_path, **options)
