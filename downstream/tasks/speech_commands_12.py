"""The 12 classes of Speech Commands v2 (Warden 2018, arXiv 1804.03209): ten commands, other words, silence.

As the set `speech_commands` of TensorFlow Datasets has them, which most publications score: other words and silence
are not balanced with the commands in training and validation; the test part is an archive of its own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from byol_a.data.io import audio_info
from byol_a.errors import AudioError, UsageError
from downstream.tasks.base import Clip, Task, expect, expect_folder
from downstream.tasks.speech_commands import wav_names, word_clips

COMMANDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
UNKNOWN, SILENCE = "unknown", "silence"
CLASSES = (*COMMANDS, UNKNOWN, SILENCE)

NOISE = "_background_noise_"
VALID_NOISE, TEST_NOISE = "running_tap.wav", "exercise_bike.wav"  # the second only where the test part is made here
SECTION_SECONDS, HOP_SECONDS = 1.0, 0.5

TEST_SET = "speech_commands_test_set_v0.02"
TEST_FOLDERS = {**{word: word for word in COMMANDS}, "_unknown_": UNKNOWN, "_silence_": SILENCE}
SHARE = 0.1  # of other words, to the commands of the test set


def load(root: Path) -> Task:
    """Read version 2's words, lists and `_background_noise_/`, and the official test set.

    The test set, an archive of its own, is looked for as `speech_commands_test_set_v0.02/` in `root` and beside it.

    Silence is sections of one second, two a second, of the recordings of noise: `running_tap.wav` for validation, the
    others for training. Without a test set, the test part is made of `testing_list.txt`: its commands, a tenth
    as many of its other words (chosen by the hash of their names), and the silence of one recording, taken out of
    training.

    Raises:
        UsageError: for another layout, or noise that cannot be read.
    """
    clips = [_as_command(clip) for clip in word_clips(root, 2)]
    noise = expect_folder(root / NOISE, "the folder of Speech Commands' noise, which silence is cut from")
    expect(noise / VALID_NOISE, "the noise that silence for validation is cut from")
    silence = [clip for name in wav_names(noise) for clip in _silence(noise / name)]
    folder = next((folder for folder in (root / TEST_SET, root.absolute().parent / TEST_SET) if folder.is_dir()), None)
    if folder is not None:
        test = list(_official_test(folder))
        origin = f"official validation_list.txt and {TEST_SET}"
    else:
        expect(noise / TEST_NOISE, f"the noise that silence for testing is cut from where there is no {TEST_SET}")
        test = _own_test(clips)
        silence = [replace(clip, part="test") if clip.group == TEST_NOISE else clip for clip in silence]
        origin = (
            f"made here: official validation_list.txt; without {TEST_SET}, the test part is the commands of "
            f"testing_list.txt, a tenth as many of its other words by hash, and the silence of {TEST_NOISE}"
        )
    return Task(
        name="speech_commands_12",
        label="command",
        clips=(*(clip for clip in clips if clip.part != "test"), *silence, *test),
        classes=CLASSES,
        split=origin,
    )


def _as_command(clip: Clip) -> Clip:
    return clip if clip.labels[0] in COMMANDS else replace(clip, labels=(UNKNOWN,))


def _silence(path: Path) -> Iterator[Clip]:
    """Sections of a recording of noise; one that would end with the recording, or later, is left out."""
    try:
        info = audio_info(path)
    except AudioError as error:
        raise UsageError(f"{path} cannot be read ({error.reason}); a recording of noise was expected there") from error
    part = "valid" if path.name == VALID_NOISE else "train"
    count = math.ceil((info.frames / info.sample_rate - SECTION_SECONDS) / HOP_SECONDS)
    for number in range(count):
        start = number * HOP_SECONDS
        yield Clip(path, (SILENCE,), part, group=path.name, section=(start, start + SECTION_SECONDS))


def _official_test(folder: Path) -> Iterator[Clip]:
    for name, label in TEST_FOLDERS.items():
        below = expect_folder(folder / name, "a class's folder of Speech Commands' test set")
        for file in wav_names(below):
            yield Clip(below / file, (label,), "test")


def _own_test(clips: list[Clip]) -> list[Clip]:
    """The commands of the test part, and a tenth as many of its other words."""
    tested = [clip for clip in clips if clip.part == "test"]
    commands = [clip for clip in tested if clip.labels[0] != UNKNOWN]
    others = sorted((clip for clip in tested if clip.labels[0] == UNKNOWN), key=lambda clip: _hash(clip.path))
    return commands + others[: math.ceil(SHARE * len(commands))]


def _hash(path: Path) -> str:
    return hashlib.sha1(f"{path.parent.name}/{path.name}".encode()).hexdigest()
