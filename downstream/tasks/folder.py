"""Any labelled audio: a folder per class, or a CSV table."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from byol_a.data.report import FileReport
from byol_a.errors import UsageError
from downstream.tasks.base import SPLIT_WORDS, Clip, Task, each_once, natural_order, read_table
from downstream.tasks.listing import audio_below, left_out

MADE_FOLDS, MADE_SEED = 5, 0
MULTI_LABEL_METRICS = ("macro_map", "d_prime", "lwlrap")


def load(root: Path, csv: str | Path | None = None) -> Task:
    """Read `root/<class>/**`, `root/<train|valid|test>/<class>/**`, or the table `csv`.

    Args:
        csv: a table with the columns `file_name` (below `root`, or absolute) and `label`, and if there is
            one, `split` (train, valid, test) or `fold`, and `group` (speaker, recording: kept on one side
            when parts are drawn; a clip without one is a group of its own). A comma in any label makes the
            task multi-label.
    """
    report = FileReport()
    clips, given = _from_folders(root, report) if csv is None else _from_table(root, Path(csv))
    multi_label = csv is not None and any(len(clip.labels) != 1 for clip in clips)
    classes = tuple(sorted({label for clip in clips for label in clip.labels}, key=natural_order))
    if len(classes) < 2:
        raise UsageError(
            f"{csv or root} has {len(classes)} class{'es' if not classes else ''}; at least two are needed"
        )
    if not given:
        clips, given = _divide(clips, multi_label)
    return Task(
        name="folder",
        label="label" if csv else "class",
        clips=tuple(clips),
        classes=classes,
        split=given,
        metrics=MULTI_LABEL_METRICS if multi_label else ("accuracy",),
        multi_label=multi_label,
        left_out=left_out(root, report),
    )


def _from_folders(root: Path, report: FileReport) -> tuple[list[Clip], str]:
    """The clips, and where their division comes from if the folders are named as its parts."""
    below = [name.split("/") for name in audio_below(root, report)]
    folders = sorted({parts[0] for parts in below if len(parts) > 1})  # those that hold audio
    words = {folder: SPLIT_WORDS.get(folder.lower()) for folder in folders}
    divided = {"train", "test"} <= set(words.values())
    if divided and None in words.values():
        extra = next(folder for folder in folders if words[folder] is None)
        raise UsageError(
            f"{root} is divided into parts, but {root / extra} holds audio too and is none of train, valid and "
            f"test; move it elsewhere, or list the clips in a table (--csv)"
        )
    if not divided and folders and None not in words.values():
        missing = next(part for part in ("train", "test") if part not in words.values())
        raise UsageError(
            f"{root} has {' and '.join(folders)} but no {missing} folder that holds audio; both train and test are "
            f"needed, or a folder per class"
        )
    clips = []
    depth = 1 if divided else 0  # where the class's folder is
    for parts in below:
        path = root.joinpath(*parts)
        if len(parts) < depth + 2:
            raise UsageError(f"{path} is in no class's folder; {path.parent}/<class>/ was expected to hold every file")
        clips.append(Clip(path, (parts[depth],), str(words[parts[0]]) if divided else ""))
    return clips, "given by the folders " + ", ".join(folders) if divided else ""


def _from_table(root: Path, table: Path) -> tuple[list[Clip], str]:
    rows = read_table(table, ("file_name", "label"), "a table of file names and labels")
    divided = next((column for column in ("split", "fold") if column in next(iter(rows.values()))), None)
    each_once(table, {number: os.path.join(root, row["file_name"]) for number, row in rows.items()})  # noqa: PTH118
    clips: list[Clip] = []
    for number, row in rows.items():
        part = row[divided].strip() if divided else ""
        if divided == "split":
            word, part = part, SPLIT_WORDS.get(part.lower(), "")
            if not part:
                raise UsageError(f"{table}, line {number}: the split {word!r} is none of train, valid and test")
        elif divided == "fold" and not part:
            raise UsageError(f"{table}, line {number} has no fold; every clip needs one, or none of them")
        labels = tuple(label.strip() for label in row["label"].split(",") if label.strip())
        clips.append(Clip(Path(root, row["file_name"]), labels, part, row.get("group", "").strip() or None))
    if divided == "fold" and len({clip.part for clip in clips}) < 2:
        raise UsageError(f"{table} has one fold only; at least two are needed")
    if not any(len(clip.labels) > 1 for clip in clips):
        bare = next((number for number, clip in zip(rows, clips, strict=True) if not clip.labels), None)
        if bare is not None:
            raise UsageError(f"{table}, line {bare} has no label; every clip of a single-label task needs one")
    return clips, f"given by the column {divided!r}" if divided else ""


def _divide(clips: list[Clip], multi_label: bool) -> tuple[list[Clip], str]:
    from downstream.splits import make_folds

    labels = None if multi_label else [clip.labels[0] for clip in clips]
    groups = [clip.group for clip in clips]
    folds = make_folds(len(clips), labels, groups, MADE_FOLDS, MADE_SEED)
    named = [replace(clip, part=str(fold + 1)) for clip, fold in zip(clips, folds.numbers, strict=True)]
    return named, f"made here: {max(folds.numbers) + 1} {folds.kind} folds, seed {MADE_SEED}"
