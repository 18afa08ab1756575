"""CREMA-D (Cao et al. 2014): with which of six emotions an actor says a sentence."""

from __future__ import annotations

import os
import re
from pathlib import Path

from byol_a.errors import UsageError
from downstream.tasks.base import Clip, Task, expect_folder
from downstream.tasks.division import divide

EMOTIONS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
# The level is LO, MD, HI or XX, and a plain X in one file of the set.
FILE_NAME = re.compile(rf"(?P<actor>\d{{4}})_[A-Z]{{3}}_(?P<emotion>{'|'.join(EMOTIONS)})_(?:LO|MD|HI|XX?)\.wav")
SHARES = {"train": 0.7, "valid": 0.1, "test": 0.2}


def load(root: Path, split: str | Path | None = None) -> Task:
    """Read `AudioWAV/<actor>_<sentence>_<emotion>_<level>.wav`; a clip's group is its actor.

    Args:
        split: the user's list of parts, see `downstream.tasks.division`; by file name, or by actor.
    """
    folder = expect_folder(root / "AudioWAV", "the folder of CREMA-D's clips")
    clips, names = [], []
    for name in sorted(entry.name for entry in os.scandir(folder)):
        if name.startswith(".") or not name.lower().endswith(".wav"):
            continue
        found = FILE_NAME.fullmatch(name)
        if found is None:
            raise UsageError(
                f"{folder / name} is not named as CREMA-D's clips are: <actor>_<sentence>_<emotion>_<level>.wav, for "
                f"example 1001_DFA_ANG_XX.wav, with one of the emotions {', '.join(EMOTIONS)}"
            )
        clips.append(Clip(folder / name, (EMOTIONS[found["emotion"]],), "", found["actor"]))
        names.append((f"AudioWAV/{name}", name))
    if not clips:
        raise UsageError(f"{folder} holds no .wav file; CREMA-D's 1001_DFA_ANG_XX.wav and so on were expected there")
    division = divide(clips, names, split, SHARES, "whole actors")
    return Task(
        name="cremad",
        label="emotion",
        clips=division.clips,
        classes=tuple(sorted({clip.labels[0] for clip in division.clips})),
        split=division.source,
        left_out=division.left_out,
    )
