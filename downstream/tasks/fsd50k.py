"""FSD50K (Fonseca et al. 2022, arXiv 2010.00475): Freesound clips with any of 200 labels of AudioSet's ontology."""

from __future__ import annotations

from pathlib import Path

from byol_a.errors import UsageError
from downstream.tasks.base import Clip, Task, each_once, expect_folder, inside, read_table

PART_OF_SPLIT = {"train": "train", "val": "valid"}


def load(root: Path) -> Task:
    """Read `FSD50K.ground_truth/`, `FSD50K.dev_audio/` and `FSD50K.eval_audio/`.

    The classes are those of `vocabulary.csv`, in its order, whether or not they occur in the tables.

    Raises:
        UsageError: for another layout, an unknown label, or a split other than train and val.
    """
    tables = expect_folder(root / "FSD50K.ground_truth", "the folder of FSD50K's tables")
    vocabulary = read_table(
        tables / "vocabulary.csv",
        ("label",),
        "the vocabulary of FSD50K, rows of index, label and mid without a header",
        unnamed=("index", "label", "mid"),
    )
    classes = tuple(row["label"] for row in vocabulary.values())
    dev = _clips(tables / "dev.csv", ("fname", "labels", "split"), root / "FSD50K.dev_audio", frozenset(classes))
    evaluation = _clips(tables / "eval.csv", ("fname", "labels"), root / "FSD50K.eval_audio", frozenset(classes))
    twice = {clip.path.name for clip in dev} & {clip.path.name for clip in evaluation}
    if twice:
        raise UsageError(f"{min(twice)} stands in dev.csv and in eval.csv of {tables}; a clip is in one part of FSD50K")
    return Task(
        name="fsd50k",
        label="labels",
        clips=(*dev, *evaluation),
        classes=classes,
        split="official train, valid and eval",
        metrics=("macro_map", "d_prime", "lwlrap"),
        multi_label=True,
    )


def _clips(table: Path, columns: tuple[str, ...], audio: Path, known: frozenset[str]) -> list[Clip]:
    """The clips of one table; those of a table without the column `split` are the test part."""
    rows = read_table(table, columns, "a table of FSD50K's ground truth")
    expect_folder(audio, "a folder of FSD50K's clips")
    each_once(table, {number: row["fname"] for number, row in rows.items()})
    clips = []
    for number, row in rows.items():
        part = PART_OF_SPLIT.get(row["split"]) if "split" in columns else "test"
        if part is None:
            raise UsageError(f"{table}, line {number} has the split {row['split']!r}; train or val was expected")
        labels = tuple(row["labels"].split(","))
        if not known.issuperset(labels):
            label = next(label for label in labels if label not in known)
            raise UsageError(f"{table}, line {number} has the label {label!r}, which vocabulary.csv beside it lacks")
        clips.append(Clip(inside(audio, f"{row['fname']}.wav", f"{table}, line {number}"), labels, part))
    return clips
