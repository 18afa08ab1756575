"""NSynth (Engel et al. 2017): single notes of instruments, with official train, valid and test parts."""

from __future__ import annotations

import json
from pathlib import Path

from byol_a.errors import UsageError
from downstream.tasks.base import PARTS, Clip, Task, expect, natural_order

LABELS = {"instrument_family": "instrument_family_str", "pitch": "pitch"}


def load(root: Path, label: str = "instrument_family") -> Task:
    """Read `nsynth-{train,valid,test}/{audio/*.wav,examples.json}`.

    Args:
        label: `"instrument_family"`, or `"pitch"` (the MIDI number; scored by pitch and by chroma).
    """
    if label not in LABELS:
        raise UsageError(f"nsynth has no label {label!r}; there are {' and '.join(LABELS)}")
    clips = []
    for part in PARTS:
        folder = expect(root / f"nsynth-{part}", f"the {part} part of NSynth")
        audio = expect(folder / "audio", f"the folder of the notes of NSynth's {part} part")
        table = expect(folder / "examples.json", f"the table of NSynth's {part} part")
        try:
            notes = json.loads(table.read_text(encoding="utf-8"))
            for name, note in sorted(notes.items()):
                clips.append(Clip(audio / f"{name}.wav", (str(note[LABELS[label]]),), part, note["instrument_str"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{table} is not NSynth's table of notes ({type(error).__name__}: {error}); a JSON object "
                f"of notes with instrument_str and {LABELS[label]} was expected there"
            ) from error
    return Task(
        name="nsynth",
        label=label,
        clips=tuple(clips),
        classes=tuple(sorted({clip.labels[0] for clip in clips}, key=natural_order)),
        split="official train, valid and test",
        metrics=("accuracy", "chroma_accuracy") if label == "pitch" else ("accuracy",),
        unit_seconds=4.0,
        expected_clips=289_205 + 12_678 + 4_096,
    )
