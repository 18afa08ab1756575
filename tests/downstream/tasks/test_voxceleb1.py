"""VoxCeleb1's identification list and the folders of dev and test in one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from downstream.tasks import Clip, load_task
from tests.downstream.tasks.layouts import parts_of, refusal, touch, write_lines

LINES = [
    "1 id10001/Y8hIVOBuels/00001.wav",
    "1 id10001/Y8hIVOBuels/00002.wav",
    "3 id10001/1zcIwhmdeo4/00001.wav",
    "2 id10270/5r0dWxy17C8/00001.wav",
    "1 id10270/-x_7zIRd2Gc/00001.wav",
    "3 id10270/8jEAjG6SegY/00001.wav",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two speakers, one of the dev archive and one of the test archive; one listed file is missing."""
    touch(tmp_path, *(f"wav/{line[2:]}" for line in LINES[:-1]))
    write_lines(tmp_path / "iden_split.txt", LINES)
    return tmp_path


def test_speakers_parts_and_videos(root: Path) -> None:
    task = load_task("vc1", root)
    assert (task.name, task.label, task.domain, task.unit_seconds) == ("vc1", "speaker", "speech", 8.2)
    assert task.classes == ("id10001", "id10270") and task.metrics == ("accuracy",)
    assert parts_of(task) == {"train": 3, "valid": 1, "test": 2}
    assert task.clips[0] == Clip(root / "wav" / LINES[0][2:], ("id10001",), "train", "id10001/Y8hIVOBuels")
    assert task.clips[0].group == task.clips[1].group != task.clips[2].group
    assert not task.split_made_here and "6 clips of 2 classes are listed, of the 153,516" in task.warnings()[0]
    (part,) = task.rounds()
    assert (len(part.train), len(part.valid), len(part.test)) == (3, 1, 2)


def test_the_list_may_lie_elsewhere_and_have_windows_line_ends(root: Path) -> None:
    elsewhere = root / "lists" / "mine.txt"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes("\r\n".join([*LINES, ""]).encode())
    (root / "iden_split.txt").unlink()
    task = load_task("vc1", root, split=elsewhere)
    assert len(task.clips) == 6 and task.split == "given by mine.txt"


def test_no_file_is_looked_at(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    stat = os.stat

    def noted(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        looked.append(str(path))
        return stat(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", noted)
    load_task("vc1", root)
    assert not [path for path in looked if path.endswith(".wav")]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["4 id10001/a/00001.wav"], ["line 1", "'4 id10001/a/00001.wav'", "<1, 2 or 3>"]),
        (["1 id10001/a/00001.wav", "", "1,id10001,a"], ["line 3"]),
        (["1 id10001/a/00001.wav", "3 id10001/a/00001.wav"], ["line 2", "into test", "in train already"]),
        ([], ["iden_split.txt is empty"]),
    ],
)
def test_another_list_is_refused(root: Path, lines: list[str], words: list[str]) -> None:
    write_lines(root / "iden_split.txt", lines)
    for word in words:
        assert word in refusal("vc1", root)


def test_missing_pieces_are_named(root: Path) -> None:
    (root / "wav").rename(root / "dev")
    assert f"{root / 'wav'} does not exist; the folder of VoxCeleb1's speakers" in refusal("vc1", root)
    (root / "iden_split.txt").unlink()
    said = refusal("vc1", root)
    assert f"{root / 'iden_split.txt'} does not exist" in said and "--split" in said
