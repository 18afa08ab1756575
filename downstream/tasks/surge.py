"""Surge pitch (Turian et al. 2021, arXiv 2104.12922): which note a synthesiser plays, in tones never trained on."""

from __future__ import annotations

from pathlib import Path

from byol_a.data.report import FileReport
from byol_a.errors import UsageError
from downstream.tasks.base import Clip, Task, natural_order
from downstream.tasks.division import divide
from downstream.tasks.listing import audio_below, left_out

LAYOUT = "<tone>-velocity64/<MIDI number>.ogg"
FOLDER_END, PITCHES = "-velocity64", range(21, 109)
SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}


def load(root: Path, split: str | Path | None = None) -> Task:
    """Read `<tone>-velocity64/<midi>.ogg`; the label is the MIDI number, 21 to 108, and the group the tone.

    Args:
        split: the user's list of parts, see `downstream.tasks.division`; by file below `root`, or by tone.
    """
    report = FileReport()
    clips, names = [], []
    for name in audio_below(root, report):
        folder, _, file = name.rpartition("/")
        pitch = file.removesuffix(".ogg")
        if not folder.endswith(FOLDER_END) or pitch == file or not pitch.isdecimal():
            report.add(root / name, f"elsewhere: {LAYOUT} was expected")
        elif int(pitch) not in PITCHES:
            report.add(root / name, f"out of range: a pitch from {PITCHES[0]} to {PITCHES[-1]} was expected")
        else:
            clips.append(Clip(root / name, (str(int(pitch)),), "", folder.removesuffix(FOLDER_END)))
            names.append((name,))
    if not clips:
        raise UsageError(f"{root} holds no note of Surge; {LAYOUT} was expected there")
    division = divide(clips, names, split, SHARES, "whole tones")
    return Task(
        name="surge",
        label="pitch",
        clips=division.clips,
        classes=tuple(sorted({clip.labels[0] for clip in division.clips}, key=natural_order)),
        split=division.source,
        metrics=("pitch_accuracy", "chroma_accuracy"),
        left_out="; ".join(filter(None, (left_out(root, report), division.left_out))),
    )
