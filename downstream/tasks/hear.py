"""HEAR's scene tasks (Turian et al. 2022, arXiv 2203.03022): a folder that says itself how it is to be scored."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from byol_a.errors import UsageError
from downstream.tasks.base import PARTS, Clip, Task, expect, expect_folder, inside, read_table

METADATA, VOCABULARY = "task_metadata.json", "labelvocabulary.csv"
METRIC_NAMES = {
    "top1_acc": "accuracy",
    "pitch_acc": "pitch_accuracy",
    "chroma_acc": "chroma_accuracy",
    "mAP": "macro_map",
    "d_prime": "d_prime",
    "aucroc": "auc_roc",
}
ONE_LABEL = ("top1_acc", "pitch_acc", "chroma_acc")
"""Metrics of the one class that is right; HEAR's FSD50K lists the first beside those for several labels."""
KFOLD = ("new_split_kfold", "presplit_kfold")
DAY = 86_400  # seconds
MODELS_RATE = 16000  # Hz; of the rates that come with a task, the one that needs no resampling in most models


def load(root: Path) -> Task:
    """Read `task_metadata.json`, `labelvocabulary.csv`, `<split>.json` and the clips in `<rate>/<split>/`.

    Metrics, folds and the clips' length are as the metadata says. The classes are the whole vocabulary. Of
    several sample rates 16,000 Hz is taken, or else the nearest above, or else the highest.

    Raises:
        UsageError: for an event task (labels at points in time), which is not scored here, or a layout that is
            not HEAR's.
    """
    about = _read_json(root / METADATA, "the metadata of a HEAR task")
    _refuse_events(root, about)
    multi_label = _one_of(root, about, "prediction_type", ("multiclass", "multilabel")) == "multilabel"
    metrics, unfit = _metrics(root, about, multi_label)
    classes = _vocabulary(root / VOCABULARY)
    strange = [label for label in classes if not (label.isdecimal() and len(label) < 4)]
    if strange and {"pitch_accuracy", "chroma_accuracy"} & set(metrics):
        raise UsageError(f"{root / VOCABULARY} has the label {strange[0][:80]!r}, and the metrics need MIDI numbers")
    rate, known = _rate_folder(root), set(classes)
    clips: list[Clip] = []
    for split in _splits(root, about):
        table = root / f"{split}.json"
        audio = expect_folder(root / rate / split, f"the folder of the clips in {split}.json")
        for name, labels in _labelled(table):
            unknown = [label for label in labels if label not in known]
            if unknown:
                raise UsageError(f"{table}: the label {unknown[0]!r} of {name} is not in {VOCABULARY}")
            if not multi_label and len(labels) != 1:
                raise UsageError(f"{table}: {name} has {len(labels)} labels, and the task is multiclass")
            clips.append(Clip(inside(audio, name, str(table)), labels, split))
    folds = about["split_mode"] in KFOLD
    return Task(
        name=_name(about),
        label="label",
        clips=tuple(clips),
        classes=classes,
        split=f"HEAR's {len({clip.part for clip in clips})} folds" if folds else "HEAR's train, valid and test",
        metrics=metrics,
        unit_seconds=_duration(root, about),
        multi_label=multi_label,
        left_out=f"{', '.join(unfit)} of the metadata is for one label a clip, and left out here" if unfit else "",
        title=f"HEAR, {about['task_name']}",
    )


def _name(about: Mapping[str, Any]) -> str:
    """`hear_esc50`; with its mode where that is not the full set (`hear_nsynth_pitch_5h`)."""
    mode = re.sub(r"[^\w.-]", "_", str(about.get("mode", "full")))
    return "_".join(["hear", str(about["task_name"]), *([] if mode == "full" else [mode])])


def _refuse_events(root: Path, about: Mapping[str, Any]) -> None:
    if not re.fullmatch(r"[\w.-]+", str(about.get("task_name", ""))):  # it names folders of results
        raise UsageError(
            f"{root / METADATA} has no task_name of letters and digits, as the metadata of a HEAR task has"
        )
    if _one_of(root, about, "embedding_type", ("scene", "event")) == "event":
        raise UsageError(
            f"{root} is HEAR's event task {about['task_name']}, whose labels stand at points in time; only scene "
            f"tasks, with labels for whole clips, can be scored here"
        )


def _metrics(root: Path, about: Mapping[str, Any], multi_label: bool) -> tuple[tuple[str, ...], list[str]]:
    """Our names of the metrics that are asked for, and HEAR's of those among them that do not fit several labels."""
    asked = about.get("evaluation")
    if not isinstance(asked, list) or not asked:
        raise UsageError(f"{root / METADATA} has no list of metrics under 'evaluation'; HEAR's tasks have one")
    for name in asked:
        if not isinstance(name, str) or name not in METRIC_NAMES:
            raise UsageError(
                f"{root / METADATA} asks for the metric {str(name)[:80]!r}, which is not known here; known: "
                f"{', '.join(METRIC_NAMES)}"
            )
    unfit = [name for name in dict.fromkeys(asked) if multi_label and name in ONE_LABEL]
    fit = [METRIC_NAMES[name] for name in dict.fromkeys(asked) if name not in unfit]
    if not fit:
        raise UsageError(
            f"{root / METADATA} asks for {', '.join(unfit)}, which is for one label a clip, and the task is "
            f"multilabel; mAP, d_prime and aucroc are for several"
        )
    return tuple(fit), unfit


def _duration(root: Path, about: Mapping[str, Any]) -> float | None:
    """The length that clips are cut to, in seconds; None for whole clips."""
    seconds = about.get("sample_duration")
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= DAY:
        raise UsageError(
            f"{root / METADATA}: sample_duration is {str(seconds)[:80]!r}; a number of seconds, or null for whole "
            f"clips, was expected"
        )
    return float(seconds)


def _splits(root: Path, about: Mapping[str, Any]) -> list[str]:
    """The names of the parts or folds, each with a table `<name>.json`."""
    if _one_of(root, about, "split_mode", ("trainvaltest", *KFOLD)) == "trainvaltest":
        return list(PARTS)
    folds = sorted(path.stem for path in root.glob("fold*.json"))
    count = about.get("nfolds")
    if len(folds) < 2 or (isinstance(count, int) and count != len(folds)):
        raise UsageError(f"{root} has {len(folds)} tables fold*.json, and its metadata says {count} folds")
    return folds


def _vocabulary(path: Path) -> tuple[str, ...]:
    """The labels in the order of their numbers."""
    rows = read_table(path, ("idx", "label"), "the vocabulary of a HEAR task")
    try:
        numbered = [(int(row["idx"]), row["label"]) for row in rows.values()]
    except ValueError as error:
        raise UsageError(f"{path}: a label's idx is no whole number ({error})") from error
    for column, values in zip(("idx", "label"), zip(*numbered, strict=True), strict=True):
        twice = next((value for value, times in Counter(values).items() if times > 1), None)
        if twice is not None:
            raise UsageError(f"{path} has the {column} {twice!r} more than once; each label has a number of its own")
    return tuple(label for _, label in sorted(numbered))


def _rate_folder(root: Path) -> str:
    rates = sorted(int(entry.name) for entry in os.scandir(root) if entry.name.isdecimal() and entry.is_dir())
    if not rates:
        raise UsageError(f"{root} has no folder named after a sample rate (16000/ or 48000/), which holds the clips")
    return str(next((rate for rate in rates if rate >= MODELS_RATE), rates[-1]))


def _labelled(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """File names and their labels."""
    table = _read_json(path, "a table of HEAR's, from file names to lists of labels,")
    if not table:
        raise UsageError(f"{path} lists no clips; a list of labels for each file name was expected there")
    for name, labels in table.items():
        if not isinstance(labels, list) or not all(isinstance(label, (str, int)) for label in labels):
            raise UsageError(f"{path}: {name} has {str(labels)[:80]!r} where a list of labels was expected")
        yield name, tuple(map(str, labels))


def _one_of(root: Path, about: Mapping[str, Any], key: str, values: tuple[str, ...]) -> str:
    value = about.get(key)
    if value not in values:
        raise UsageError(f"{root / METADATA}: {key} is {value!r}, which is none of {', '.join(values)}")
    return str(value)


def _read_json(path: Path, what: str) -> dict[str, Any]:
    try:
        table = json.loads(expect(path, what).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read as JSON ({error}); {what} was expected there") from error
    if not isinstance(table, dict):
        raise UsageError(f"{path} holds no JSON object; {what} was expected there")
    return table
