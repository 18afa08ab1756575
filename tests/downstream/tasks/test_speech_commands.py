"""Speech Commands v1 and v2: folders of words beside folders of noise, and two lists of official parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from downstream.tasks import Clip, load_task, read_task_recipe
from downstream.tasks.base import PARTS
from downstream.tasks.speech_commands import WORDS
from tests.downstream.tasks.layouts import parts_of, refusal, touch, write_lines

SPEAKERS = ("00176480", "0c40e715", "ffd2ba2f")  # to train on, in the validation list, in the testing list


def write_words(root: Path, words: frozenset[str] = WORDS[2], takes: int = 1) -> Path:
    """Every word from three speakers, and the official lists."""
    for word in words:
        touch(root / word, *(f"{speaker}_nohash_{take}.wav" for speaker in SPEAKERS for take in range(takes)))
    for name, speaker in (("validation_list.txt", SPEAKERS[1]), ("testing_list.txt", SPEAKERS[2])):
        lines = [f"{word}/{speaker}_nohash_{take}.wav" for word in sorted(words) for take in range(takes)]
        write_lines(root / name, lines)
    touch(root, "LICENSE", "README.md", "_background_noise_/README.md", "_background_noise_/pink_noise.wav")
    return root


@pytest.mark.parametrize(("name", "version", "title"), [("spcv1", 1, "v1"), ("spcv2", 2, "v2")])
def test_words_in_their_official_parts(tmp_path: Path, name: str, version: int, title: str) -> None:
    root = write_words(tmp_path, WORDS[version])
    task = load_task(name, root)
    assert (task.name, task.title, task.domain) == (name, f"Speech Commands {title}", "speech")
    assert task.unit_seconds == 1.0 and task.metrics == ("accuracy",) and not task.split_made_here
    assert task.classes == tuple(sorted(WORDS[version])) and len(task.classes) == (30, 35)[version - 1]
    assert parts_of(task) == dict.fromkeys(PARTS, len(task.classes))
    assert task.clips[0].path.parent.name == min(WORDS[version])
    assert task.clips[1] == Clip(
        task.clips[1].path.parent / "0c40e715_nohash_0.wav", task.clips[0].labels, "valid", "0c40e715"
    )
    assert all(clip.path.is_file() for clip in task.clips)


def test_the_lists_divide_and_speakers_are_groups(tmp_path: Path) -> None:
    task = load_task("spcv2", write_words(tmp_path, takes=3))
    assert {(clip.group, clip.part) for clip in task.clips} == set(zip(SPEAKERS, PARTS, strict=True))
    assert parts_of(task) == dict.fromkeys(PARTS, 3 * 35)


def test_noise_and_other_archives_are_no_words(tmp_path: Path) -> None:
    root = write_words(tmp_path)
    before = load_task("spcv2", root)
    touch(root, "_silence_/a.wav", "speech_commands_test_set_v0.02/yes/a_nohash_0.wav", ".cache/x.wav", "yes/.DS_Store")
    touch(root, "yes/._00176480_nohash_0.wav", "_background_noise_/._pink_noise.wav")
    assert load_task("spcv2", root).clips == before.clips


def test_a_partial_copy_is_a_warning(tmp_path: Path) -> None:
    root = write_words(tmp_path, frozenset(("yes", "no", "backward")))
    assert "9 clips of 3 classes are listed, of the 105,829" in load_task("spcv2", root).warnings()[0]


def test_the_other_version_is_named(tmp_path: Path) -> None:
    message = refusal("spcv1", write_words(tmp_path / "two"))
    assert "backward is not named as one of the 30 words of version 1" in message and "--task spcv2" in message
    assert "--task spcv1" in refusal("spcv2", write_words(tmp_path / "one", WORDS[1]))


def test_the_versions_are_recognised_apart(tmp_path: Path) -> None:
    for version, name, other in ((1, "spcv1", "spcv2"), (2, "spcv2", "spcv1")):
        root = write_words(tmp_path / name, WORDS[version])
        assert read_task_recipe(name).recognises(root) and not read_task_recipe(other).recognises(root)
        assert not read_task_recipe(name).recognises(tmp_path)


@pytest.mark.parametrize(
    ("files", "without", "words"),
    [
        ([], "validation_list.txt", ["validation_list.txt does not exist"]),
        ([], "testing_list.txt", ["testing_list.txt does not exist"]),
        (["grandmother/00176480_nohash_0.wav"], "", ["grandmother is not named as one of the 35 words"]),
        (["yes/recording.wav"], "", ["yes/recording.wav", "<speaker>_nohash_<n>.wav"]),
    ],
)
def test_another_layout(tmp_path: Path, files: list[str], without: str, words: list[str]) -> None:
    root = write_words(tmp_path)
    touch(root, *files)
    if without:
        (root / without).unlink()
    message = refusal("spcv2", root)
    assert all(word in message for word in words), message


def test_lists_of_other_files_are_refused(tmp_path: Path) -> None:
    root = write_words(tmp_path)
    write_lines(root / "validation_list.txt", ["/data/yes/0c40e715_nohash_0.wav"])
    assert "validation_list.txt lists none of the 105 files" in refusal("spcv2", root)
    write_lines(root / "validation_list.txt", [""])
    assert "validation_list.txt is empty" in refusal("spcv2", root)


def test_a_folder_without_words(tmp_path: Path) -> None:
    root = write_words(tmp_path, frozenset())
    write_lines(root / "validation_list.txt", ["yes/a_nohash_0.wav"])
    write_lines(root / "testing_list.txt", ["yes/a_nohash_0.wav"])
    assert "no folder of words" in refusal("spcv2", root)
