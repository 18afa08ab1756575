"""VoxForge: which language is spoken, in the recordings of volunteers, an archive per recording session."""

from __future__ import annotations

from pathlib import Path

from byol_a.data.report import FileReport
from byol_a.errors import UsageError
from downstream.tasks.base import Clip, Task
from downstream.tasks.division import divide
from downstream.tasks.listing import audio_below, left_out

LAYOUT = "<language>/.../<archive>/wav/*.wav"
LANGUAGES = frozenset(("de", "en", "es", "fr", "it", "ru"))
SHARES = {"train": 0.7, "valid": 0.15, "test": 0.15}


def load(root: Path, split: str | Path | None = None) -> Task:
    """Read `<language>/**/<archive>/wav/*.wav`; the language is the folder directly below `root`.

    A clip's group is its archive, under whatever folder that lies: the same session at 8 and at 16 kHz is one.

    Args:
        split: the user's list of parts, see `downstream.tasks.division`; by file below `root`, or by archive.
    """
    report = FileReport()
    clips, names = [], []
    for name in audio_below(root, report):
        folders = name.split("/")
        if len(folders) < 4 or folders[-2] != "wav" or not name.endswith(".wav"):
            report.add(root / name, f"elsewhere: {LAYOUT} was expected")
            continue
        clips.append(Clip(root / name, (folders[0],), "", folders[-3]))
        names.append((name,))
    if not clips:
        raise UsageError(f"{root} holds no recording of VoxForge; {LAYOUT} was expected there")
    division = divide(clips, names, split, SHARES, "whole archives of each language", by_class=True)
    classes = sorted({clip.labels[0] for clip in division.clips})
    others = ", ".join(name for name in classes if name not in LANGUAGES)
    strange = f"in {root} the folders {others} are none of VoxForge's languages {', '.join(sorted(LANGUAGES))}"
    return Task(
        name="voxforge",
        label="language",
        clips=division.clips,
        classes=tuple(classes),
        split=division.source,
        left_out="; ".join(filter(None, (left_out(root, report), division.left_out, strange * bool(others)))),
    )
