"""VoxForge's archives below a folder per language."""

from __future__ import annotations

from pathlib import Path

import pytest

from downstream.tasks import Clip, load_task, read_task_recipe
from tests.downstream.tasks.layouts import parts_of, refusal, touch, write_rows

ARCHIVES = [f"speaker{index % 7}-2010{index:04d}-abc" for index in range(20)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twenty archives of German, one of them at two rates, and twenty of Italian under deeper folders."""
    for archive in ARCHIVES:
        touch(tmp_path, f"de/{archive}/wav/de5-001.wav", f"de/{archive}/wav/de5-002.wav", f"de/{archive}/etc/PROMPTS")
        touch(tmp_path, f"it/Trunk/Audio/16kHz_16bit/{archive}/wav/it-1.wav")
    touch(tmp_path, f"it/Trunk/Audio/8kHz_16bit/{ARCHIVES[0]}/wav/it-1.wav")
    return tmp_path


def test_languages_and_whole_archives(root: Path) -> None:
    task = load_task("voxforge", root)
    assert (task.name, task.label, task.domain, task.unit_seconds) == ("voxforge", "language", "speech", 5.8)
    assert task.classes == ("de", "it") and len(task.clips) == 61
    assert task.clips[0] == Clip(
        root / "de" / ARCHIVES[0] / "wav" / "de5-001.wav", ("de",), task.clips[0].part, ARCHIVES[0]
    )
    for language, per_archive in (("de", 2), ("it", 1)):
        of_language = [clip for clip in task.clips if clip.labels == (language,)]
        parts = {(clip.group, clip.part) for clip in of_language}
        assert len(parts) == 20  # the session that is there at 8 and at 16 kHz is in one part
        by_part = {part: sum(1 for _, its in parts if its == part) for part in ("train", "valid", "test")}
        assert by_part == {"train": 14, "valid": 3, "test": 3}, (language, per_archive)
    assert task.split_made_here and "70 % train, 15 % valid, 15 % test" in task.split
    assert "61 clips of 2 classes are listed, of the 176,428" in task.warnings()[0]


def test_a_users_list_by_file_or_by_archive(root: Path) -> None:
    rows = [[f"de/{name}/wav/de5-001.wav", "train" if index else "test"] for index, name in enumerate(ARCHIVES)]
    task = load_task("voxforge", root, split=write_rows(root / "mine.csv", ["file_name", "split"], rows))
    assert parts_of(task) == {"train": 19, "test": 1} and task.split == "given by mine.csv"
    assert "41 clips are not in" in task.left_out and not task.split_made_here
    rows = [[name, "train" if index > 2 else "test"] for index, name in enumerate(ARCHIVES)]
    task = load_task("voxforge", root, split=write_rows(root / "mine.csv", ["group", "split"], rows))
    assert parts_of(task) == {"train": 51, "test": 10} and not task.left_out


def test_audio_elsewhere_is_said(root: Path) -> None:
    touch(root, "it/prompts.wav", "readme.flac", f"de/{ARCHIVES[0]}/flac/de5-001.flac")
    task = load_task("voxforge", root)
    assert len(task.clips) == 61 and "3 files could not be used: 3 elsewhere" in task.left_out


def test_only_the_folder_of_the_languages_is_recognised(root: Path) -> None:
    recipe = read_task_recipe("voxforge")
    assert recipe.recognises(root) and "2 of de/**" in recipe.marks
    touch(root.parent / "mixed", "de/a-20100101-b/wav/1.wav", "speech/c-20100101-d/wav/1.wav", "it/notes.txt")
    for wrong in (root / "de", root / "it", root / "it" / "Trunk" / "Audio", root.parent / "mixed"):
        assert not recipe.recognises(wrong)


def test_fewer_languages_and_others_are_said(root: Path) -> None:
    assert "there are 2 classes and all voxforge has 6" in load_task("voxforge", root).warnings()[1]
    inner = load_task("voxforge", root / "it" / "Trunk" / "Audio")
    assert "the folders 16kHz_16bit, 8kHz_16bit are none of VoxForge's languages de, en" in inner.left_out


def test_another_layout_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "de/a.wav")
    said = refusal("voxforge", tmp_path)
    assert "<language>/.../<archive>/wav/*.wav" in said and str(tmp_path) in said
    (tmp_path / "empty").mkdir()
    assert "no audio file was found" in refusal("voxforge", tmp_path / "empty")
