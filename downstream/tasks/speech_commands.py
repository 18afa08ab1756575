"""Speech Commands v1 and v2 (Warden 2018, arXiv 1804.03209): single words of one second, divided by speaker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from byol_a.errors import UsageError
from downstream.tasks.base import Clip, Task, read_lines

_V1 = (
    "bed bird cat dog down eight five four go happy house left marvin nine no off on one right seven sheila six stop "
    "three tree two up wow yes zero"
)
_ADDED_IN_V2 = "backward follow forward learn visual"
WORDS = {1: frozenset(_V1.split()), 2: frozenset(f"{_V1} {_ADDED_IN_V2}".split())}
RECIPES = {1: "spcv1", 2: "spcv2"}
NOT_WORDS = ("_", ".", "speech_commands_")  # folders of noise, and other archives of the set unpacked within this one
LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}


def load(root: Path, version: int = 2) -> Task:
    """Read `<word>/<speaker>_nohash_<n>.wav`, `validation_list.txt` and `testing_list.txt`.

    Folders whose names begin with an underscore (`_background_noise_`) are left out. A clip's group is its speaker.

    Args:
        version: 1 has 30 words, 2 has 35.

    Raises:
        UsageError: for another layout, a word that the version does not have, or a folder of the other version.
    """
    clips = word_clips(root, version)
    return Task(
        name="speech_commands",
        label="word",
        clips=tuple(clips),
        classes=tuple(sorted({clip.labels[0] for clip in clips})),
        split=f"official {' and '.join(LISTS.values())}",
    )


def word_clips(root: Path, version: int) -> list[Clip]:
    """Every word that was said, in its official part, by word and file name; see `load`."""
    if version not in WORDS:
        raise UsageError(f"Speech Commands has no version {version!r}; there are {' and '.join(map(str, WORDS))}")
    listed = {part: set(read_lines(root / name, "a list of Speech Commands")) for part, name in LISTS.items()}
    words = _words(root, version)
    clips = []
    used = dict.fromkeys(listed, 0)
    for word in words:
        for name in wav_names(root / word):
            speaker, told, _ = name.partition("_nohash_")
            if not told:
                raise UsageError(
                    f"{root / word / name} is not named as the words of Speech Commands are: <speaker>_nohash_<n>.wav"
                )
            part = next((part for part, names in listed.items() if f"{word}/{name}" in names), "train")
            used[part] = used.get(part, 0) + 1
            clips.append(Clip(root / word / name, (word,), part, group=speaker))
    for part in listed:
        if not used[part]:
            raise UsageError(
                f"{root / LISTS[part]} lists none of the {len(clips):,} files in the folders beside it; lines like "
                f"bed/0c40e715_nohash_0.wav were expected"
            )
    return clips


def wav_names(folder: Path) -> Iterator[str]:
    """The names of the .wav files in a folder, sorted; hidden ones are none."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
    yield from (name for name in names if name.lower().endswith(".wav") and not name.startswith("."))


def _words(root: Path, version: int) -> list[str]:
    with os.scandir(root) as entries:
        words = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(NOT_WORDS))
    other = 3 - version
    expected = f"{len(WORDS[version])} words of version {version}"
    if not words:
        raise UsageError(f"{root} has no folder of words; a folder for each of the {expected} was expected there")
    for word in words:
        if word not in WORDS[version]:
            hint = f"; this looks like version {other}: --task {RECIPES[other]}" if word in WORDS[other] else ""
            raise UsageError(f"{root / word} is not named as one of the {expected} of Speech Commands{hint}")
    if set(words) == WORDS[other]:
        raise UsageError(f"{root} has the words of version {other} and no other; score it with --task {RECIPES[other]}")
    return words
