"""NSynth (Engel et al. 2017, arXiv 1704.01279): single notes of instruments, with official parts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from byol_a.errors import UsageError
from downstream.tasks.base import PARTS, Clip, Task, expect, expect_folder, inside, natural_order

LABELS = {"instrument_family": "instrument_family_str", "pitch": "pitch"}
PITCHES = range(21, 109)
"""MIDI numbers of a piano's keys; the few notes beyond them are left out where pitch is the label, as in HEAR."""
FULL_PARTS = {"train": 289_205, "valid": 12_678, "test": 4_096}


def load(root: Path, label: str = "instrument_family") -> Task:
    """Read `nsynth-{train,valid,test}/{audio/*.wav,examples.json}`; a clip's group is its instrument.

    Args:
        label: `"instrument_family"`, or `"pitch"` (the MIDI number, 21 to 108; scored by pitch and by chroma).
    """
    if label not in LABELS:
        raise UsageError(f"nsynth has no label {label!r}; there are {' and '.join(LABELS)}")
    clips: list[Clip] = []
    beyond: Counter[str] = Counter()
    for part in PARTS:
        of_part = _read_part(root, part, LABELS[label])
        within = [clip for clip in of_part if label != "pitch" or int(clip.labels[0]) in PITCHES]
        beyond[part] = len(of_part) - len(within)
        clips += within
    n_beyond = sum(beyond.values())
    return Task(
        name="nsynth",
        label=label,
        clips=tuple(clips),
        classes=tuple(sorted({clip.labels[0] for clip in clips}, key=natural_order)),
        split="official train, valid and test",
        metrics=("pitch_accuracy", "chroma_accuracy") if label == "pitch" else ("accuracy",),
        expected_clips=sum(FULL_PARTS.values()) - n_beyond,
        expected_parts={part: count - beyond[part] for part, count in FULL_PARTS.items()},
        left_out=f"{n_beyond:,} notes beyond the pitches {PITCHES[0]} to {PITCHES[-1]} are left out" * (n_beyond > 0),
    )


def _read_part(root: Path, part: str, column: str) -> list[Clip]:
    folder = expect_folder(root / f"nsynth-{part}", f"the {part} part of NSynth")
    audio = expect_folder(folder / "audio", f"the folder of the notes of NSynth's {part} part")
    table = expect(folder / "examples.json", f"the table of NSynth's {part} part")
    try:
        notes = json.loads(table.read_text(encoding="utf-8"))
        kind, kind_name = (int, "whole number") if column == "pitch" else (str, "text")
        if not all(type(note[column]) is kind for note in notes.values()):  # True is an int by isinstance
            raise TypeError(f"a {column} is no {kind_name}")
        if not all(isinstance(note["instrument_str"], str) for note in notes.values()):
            raise TypeError("an instrument_str is no text")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{table} is not NSynth's table of notes ({type(error).__name__}: {error}); a JSON object of notes with "
            f"instrument_str and {column} was expected there"
        ) from error
    return [
        Clip(inside(audio, f"{name}.wav", str(table)), (str(note[column]),), part, note["instrument_str"])
        for name, note in sorted(notes.items())
    ]
