"""Speech Commands in 12 classes: silence cut out of noise, and a test set of its own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from byol_a.data.audio_file import AudioInfo
from downstream.tasks import Clip, Task, load_task, read_task_recipe, speech_commands_12
from downstream.tasks.speech_commands import WORDS
from downstream.tasks.speech_commands_12 import COMMANDS
from tests.downstream.tasks.layouts import parts_of, refusal, touch
from tests.downstream.tasks.test_speech_commands import write_words

NOISE = {  # seconds
    "doing_the_dishes.wav": 3.2,
    "dude_miaowing.wav": 1.0,
    "exercise_bike.wav": 2.75,
    "running_tap.wav": 2.5,
}
TEST_SET = "speech_commands_test_set_v0.02"


def write_noise(folder: Path, seconds: dict[str, float]) -> None:
    import numpy as np
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    for name, length in seconds.items():
        soundfile.write(folder / name, np.zeros(round(16000 * length), dtype=np.int16), 16000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = write_words(tmp_path / "speech_commands_v0.02", takes=4)
    (root / "_background_noise_" / "pink_noise.wav").unlink()
    write_noise(root / "_background_noise_", NOISE)
    return root


def write_test_set(folder: Path) -> Path:
    for name in (*COMMANDS, "_unknown_", "_silence_"):
        touch(folder / name, "0132a06d_nohash_1.wav", "0132a06d_nohash_2.wav")
    return touch(folder, "README.md").parent


def counts(task: Task, part: str) -> Counter[str]:
    return Counter(clip.labels[0] for clip in task.clips if clip.part == part)


def sections(clips: tuple[Clip, ...], name: str) -> list[tuple[float, float] | None]:
    return [clip.section for clip in clips if clip.path.name == name]


@pytest.mark.parametrize("place", [f"speech_commands_v0.02/{TEST_SET}", TEST_SET])
def test_with_the_official_test_set(root: Path, place: str) -> None:
    write_test_set(root.parent / place)
    task = load_task("spcv2_12", root)
    assert (task.name, task.title) == ("spcv2_12", "Speech Commands v2, 12 classes")
    assert task.classes == (*COMMANDS, "unknown", "silence") and len(task.classes) == 12
    assert not task.split_made_here and TEST_SET in task.split
    assert read_task_recipe("spcv2_12").recognises(root)
    assert counts(task, "test") == dict.fromkeys(task.classes, 2)
    # 25 of 35 words are no commands: as in TensorFlow's set, all of them are kept.
    silence = {"train": 5 + 4, "valid": 3}
    for part, sound in silence.items():
        assert counts(task, part) == {**dict.fromkeys(COMMANDS, 4), "unknown": 100, "silence": sound}
    assert all(clip.path.is_file() for clip in task.clips)
    assert all(clip.path.is_relative_to(root.parent / place) for clip in task.clips if clip.part == "test")


def test_silence_is_cut_as_tensorflow_does(root: Path) -> None:
    clips = load_task("spcv2_12", root).clips
    for name, seconds in NOISE.items():
        starts = range(0, round(16000 * seconds) - 16000, 8000)
        assert sections(clips, name) == [(start / 16000, start / 16000 + 1) for start in starts]
    assert sections(clips, "running_tap.wav") == [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0)]
    assert all(clip.part == "valid" for clip in clips if clip.path.name == "running_tap.wav")
    assert all(clip.section is None for clip in clips if clip.labels != ("silence",))
    assert len({(clip.path, clip.section) for clip in clips}) == len(clips)


def test_as_much_silence_as_tensorflow_counts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its catalogue has 85,511 and 10,102 clips to train on and validate; 84,843 and 9,981 of them are words."""
    frames = {
        "doing_the_dishes.wav": 1_522_930,
        "dude_miaowing.wav": 988_891,
        "exercise_bike.wav": 980_062,
        "pink_noise.wav": 960_000,
        "running_tap.wav": 978_488,
        "white_noise.wav": 960_000,
    }
    touch(root / "_background_noise_", *frames)
    write_test_set(root / TEST_SET)
    monkeypatch.setattr(
        speech_commands_12, "audio_info", lambda path: AudioInfo(16000, 1, frames[path.name], "WAV", "PCM_16")
    )
    task = load_task("spcv2_12", root)
    assert counts(task, "train")["silence"] == 85_511 - 84_843 and counts(task, "valid")["silence"] == 10_102 - 9_981


def test_without_it_the_test_part_is_ours_and_says_so(root: Path) -> None:
    task = load_task("spcv2_12", root)
    assert task.split_made_here and any("exercise_bike.wav" in line for line in task.warnings())
    # 40 clips of commands in the list, a tenth of that of other words, and one recording of noise.
    assert counts(task, "test") == {**dict.fromkeys(COMMANDS, 4), "unknown": 4, "silence": 4}
    tested = [clip for clip in task.clips if clip.part == "test"]
    assert {clip.group for clip in tested if clip.section is None} == {"ffd2ba2f"}
    assert {clip.path.name for clip in tested if clip.section is not None} == {"exercise_bike.wav"}
    assert not {clip.path for clip in tested} & {clip.path for clip in task.clips if clip.part != "test"}
    others = {clip.path.parent.name for clip in tested if clip.labels == ("unknown",)}
    assert others <= WORDS[2] - set(COMMANDS)


def test_our_test_part_is_the_same_wherever_the_set_lies(root: Path, tmp_path: Path) -> None:
    def tested(folder: Path) -> list[str]:
        clips = load_task("spcv2_12", folder).clips
        return [f"{clip.path.parent.name}/{clip.path.name}" for clip in clips if clip.part == "test"]

    before = tested(root)
    (tmp_path / "elsewhere").mkdir()
    assert tested(root.rename(tmp_path / "elsewhere" / "sc")) == before


def test_a_partial_copy_is_a_warning(root: Path) -> None:
    assert (
        f"{sum(parts_of(load_task('spcv2_12', root)).values())} clips of 12 classes are listed, of the 100,503"
        in (load_task("spcv2_12", root).warnings()[0])
    )


def test_another_layout(root: Path) -> None:
    (root / TEST_SET).mkdir()
    assert f"{TEST_SET}/down does not exist" in refusal("spcv2_12", root)
    (root / TEST_SET).rmdir()
    noise = root / "_background_noise_"
    (noise / "exercise_bike.wav").unlink()
    assert "exercise_bike.wav does not exist" in refusal("spcv2_12", root)
    (noise / "running_tap.wav").write_text("no sound")
    assert "running_tap.wav cannot be read (not audio" in refusal("spcv2_12", root)
    (noise / "running_tap.wav").unlink()
    assert "running_tap.wav does not exist" in refusal("spcv2_12", root)
    noise.rename(root / "_noise_")
    assert "_background_noise_ does not exist" in refusal("spcv2_12", root)
