"""UrbanSound8K (Salamon et al. 2014): excerpts of up to 4 s of city sounds, 10 official folds.

The folds are never to be reshuffled: excerpts of one recording would stand on both sides, and scores would rise
for that alone.
"""

from __future__ import annotations

from pathlib import Path

from byol_a.errors import UsageError
from downstream.tasks.base import Clip, Task, each_once, expect_folder, inside, read_table

CLASSES = (
    "air_conditioner",
    "car_horn",
    "children_playing",
    "dog_bark",
    "drilling",
    "engine_idling",
    "gun_shot",
    "jackhammer",
    "siren",
    "street_music",
)  # in the order of classID
FOLDS = frozenset(str(fold) for fold in range(1, 11))


def load(root: Path) -> Task:
    """Read `metadata/UrbanSound8K.csv` and `audio/fold1` to `audio/fold10`.

    A clip's group is the recording it was cut from (`fsID`).

    Raises:
        UsageError: for another layout, an unknown class or fold, or a fold's folder that is not there.
    """
    table = root / "metadata" / "UrbanSound8K.csv"
    rows = read_table(table, ("slice_file_name", "fsID", "fold", "class"), "the table of UrbanSound8K")
    for number, row in rows.items():
        if row["class"] not in CLASSES:
            raise UsageError(
                f"{table}, line {number} has the class {row['class']!r}, which is none of UrbanSound8K's 10: "
                f"{', '.join(CLASSES)}"
            )
        if row["fold"] not in FOLDS:
            raise UsageError(f"{table}, line {number} has the fold {row['fold']!r}; one of 1 to 10 was expected")
    each_once(table, {number: row["slice_file_name"] for number, row in rows.items()})  # an excerpt is in one fold
    folders = {
        fold: expect_folder(root / "audio" / f"fold{fold}", f"the folder of UrbanSound8K's fold {fold}")
        for fold in sorted({row["fold"] for row in rows.values()}, key=int)
    }
    return Task(
        name="urbansound8k",
        label="class",
        clips=tuple(
            Clip(
                inside(folders[row["fold"]], row["slice_file_name"], f"{table}, line {number}"),
                (row["class"],),
                part=row["fold"],
                group=row["fsID"],
            )
            for number, row in rows.items()
        ),
        classes=tuple(sorted({row["class"] for row in rows.values()})),
        split=f"{len(folders)} official folds",
    )
