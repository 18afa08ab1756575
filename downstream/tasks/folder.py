"""Any labelled audio: a folder per class, or a CSV table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from byol_a.data.files import find_audio
from byol_a.errors import UsageError
from downstream.tasks.base import SPLIT_WORDS, Clip, Task, natural_order, read_table

MADE_FOLDS, MADE_SEED = 5, 0
MULTI_LABEL_METRICS = ("macro_map", "d_prime", "lwlrap")


def load(root: Path, csv: str | Path | None = None) -> Task:
    """Read `root/<class>/**`, `root/<train|valid|test>/<class>/**`, or the table `csv`.

    Args:
        csv: a table with the columns `file_name` (below `root`, or absolute) and `label`, and if there is
            one, `split` (train, valid, test) or `fold`, and `group` (speaker, recording: kept on one side
            when parts are drawn). A comma in any label makes the task multi-label.
    """
    clips, given = _from_folders(root) if csv is None else _from_table(root, Path(csv))
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
    )


def _from_folders(root: Path) -> tuple[list[Clip], str]:
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    parts = {folder: SPLIT_WORDS.get(folder.name.lower()) for folder in folders}
    if None not in parts.values() and {"train", "test"} <= set(parts.values()):
        clips = [clip for folder in folders for clip in _classes_below(folder, str(parts[folder]))]
        return clips, "given by the folders " + ", ".join(folder.name for folder in folders)
    return _classes_below(root, part=""), ""


def _classes_below(root: Path, part: str) -> list[Clip]:
    clips = []
    for path in find_audio([root]):
        below = path.relative_to(root).parts
        if len(below) < 2:
            raise UsageError(f"{path} is in no class's folder; {root}/<class>/ was expected to hold every file")
        clips.append(Clip(path, (below[0],), part))
    return clips


def _from_table(root: Path, table: Path) -> tuple[list[Clip], str]:
    rows = read_table(table, ("file_name", "label"), "a table of file names and labels")
    divided = next((column for column in ("split", "fold") if column in rows[0]), None)
    clips = []
    for number, row in enumerate(rows, start=2):
        part = (row[divided] or "").strip() if divided else ""
        if divided == "split":
            word, part = part, SPLIT_WORDS.get(part.lower(), "")
            if not part:
                raise UsageError(f"{table}, row {number}: the split {word!r} is none of train, valid and test")
        elif divided == "fold" and not part:
            raise UsageError(f"{table}, row {number} has no fold; every clip needs one, or none of them")
        labels = tuple(label.strip() for label in row["label"].split(",") if label.strip())
        clips.append(Clip(root / row["file_name"], labels, part, row.get("group") or None))
    if divided == "fold" and len({clip.part for clip in clips}) < 2:
        raise UsageError(f"{table} has one fold only; at least two are needed")
    if not any(len(clip.labels) > 1 for clip in clips):
        bare = next((number for number, clip in enumerate(clips, start=2) if not clip.labels), None)
        if bare is not None:
            raise UsageError(f"{table}, row {bare} has no label; every clip of a single-label task needs one")
    return clips, f"given by the column {divided!r}" if divided else ""


def _divide(clips: list[Clip], multi_label: bool) -> tuple[list[Clip], str]:
    from downstream.splits import make_folds

    labels = None if multi_label else [clip.labels[0] for clip in clips]
    groups = [clip.group for clip in clips]
    folds = make_folds(len(clips), labels, groups, MADE_FOLDS, MADE_SEED)
    kind = "shuffled" if multi_label else "stratified"
    kind += " group-wise" if all(groups) else ""
    named = [replace(clip, part=str(fold + 1)) for clip, fold in zip(clips, folds, strict=True)]
    return named, f"made here: {max(folds) + 1} {kind} folds, seed {MADE_SEED}"
