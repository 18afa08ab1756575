"""ESC-50 (Piczak 2015) and its ESC-10 subset: environmental sounds, 5 official folds."""

from __future__ import annotations

from pathlib import Path

from byol_a.errors import UsageError
from downstream.tasks.base import Clip, Task, each_once, expect_folder, inside, read_table

SUBSETS = ("esc50", "esc10")
FOLDS = frozenset("12345")


def load(root: Path, subset: str = "esc50") -> Task:
    """Read `meta/esc50.csv` and `audio/`; the classes are the categories that occur.

    A clip's group is the recording it was cut from (`src_file`).

    Args:
        subset: `"esc50"` takes every row, `"esc10"` those marked so in the column `esc10`.

    Raises:
        UsageError: for another layout, or if only the rows of ESC-10 are there and ESC-50 is asked for.
    """
    if subset not in SUBSETS:
        raise UsageError(f"ESC-50 has no subset {subset!r}; there are {' and '.join(SUBSETS)}")
    table = root / "meta" / "esc50.csv"
    rows = read_table(table, ("filename", "fold", "category", "esc10", "src_file"), "the table of ESC-50")
    for number, row in rows.items():
        if row["fold"] not in FOLDS or not row["category"]:
            raise UsageError(
                f"{table}, line {number} has the fold {row['fold']!r} and the category {row['category']!r}; a fold of "
                f"1 to 5 and a category's name were expected"
            )
    each_once(table, {number: row["filename"] for number, row in rows.items()})
    marked = {number: row for number, row in rows.items() if row["esc10"].strip().lower() == "true"}
    if subset == "esc10":
        if not marked:
            raise UsageError(f"{table} marks no row as esc10; the rows of ESC-10 say True in that column")
        rows = marked
    elif len(marked) == len(rows):
        raise UsageError(f"{table} holds nothing but the rows of ESC-10; score it with --task esc10")
    audio = expect_folder(root / "audio", "the folder of ESC-50's clips")
    clips = tuple(
        Clip(
            inside(audio, row["filename"], f"{table}, line {number}"),
            (row["category"],),
            part=row["fold"],
            group=row["src_file"],
        )
        for number, row in rows.items()
    )
    return Task(
        name=subset,
        label="category",
        clips=clips,
        classes=tuple(sorted({row["category"] for row in rows.values()})),
        split=f"{len({clip.part for clip in clips})} official folds",
    )
