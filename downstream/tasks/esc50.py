"""ESC-50 (Piczak 2015) and its ESC-10 subset: environmental sounds, 5 official folds."""

from __future__ import annotations

from pathlib import Path

from downstream.tasks.base import Clip, Task, expect, read_table


def load(root: Path) -> Task:
    """Read `meta/esc50.csv` and `audio/`; the classes are the categories that occur.

    A table of nothing but rows marked `esc10` is the task `esc10`, whose whole is 400 clips.
    A clip's group is the recording it was cut from (`src_file`).
    """
    rows = read_table(
        root / "meta" / "esc50.csv",
        ("filename", "fold", "category", "src_file"),
        "the table of ESC-50",
    )
    audio = expect(root / "audio", "the folder of ESC-50's clips")
    clips = tuple(
        Clip(audio / row["filename"], (row["category"],), part=row["fold"], group=row["src_file"]) for row in rows
    )
    subset = all((row.get("esc10") or "").strip().lower() == "true" for row in rows)
    return Task(
        name="esc10" if subset else "esc50",
        label="category",
        clips=clips,
        classes=tuple(sorted({row["category"] for row in rows})),
        split=f"{len({clip.part for clip in clips})} official folds",
        unit_seconds=5.0,
        expected_clips=400 if subset else 2000,
    )
