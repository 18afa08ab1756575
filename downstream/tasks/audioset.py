"""AudioSet (Gemmeke et al. 2017): 10 s of YouTube with any of 527 labels, as much of it as could be downloaded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from byol_a.data.audioset import find
from byol_a.data.files import find_names
from byol_a.data.labels import ClipLabels, read_labels
from byol_a.data.report import FileReport
from byol_a.errors import UsageError
from byol_a.words import counted, printable
from downstream.tasks.base import Clip, Task, read_table

BALANCED, UNBALANCED, EVAL = (f"{part}_segments.csv" for part in ("balanced_train", "unbalanced_train", "eval"))
LABELS = "class_labels_indices.csv"
TRAINING_TABLES = {"balanced": [BALANCED], "all": [BALANCED, UNBALANCED]}


class Segments(NamedTuple):
    """What a part's tables list, and which of the files at hand hold it."""

    part: str
    table: ClipLabels
    files: np.ndarray  # int64 (N,): which of the files, ascending
    rows: np.ndarray  # int64 (N,): of the table, one for each file


def load(root: Path, train: str = "balanced") -> Task:
    """Find audio and the official tables anywhere below `root`, and match them by the YouTube id in a file's name.

    Names may be `<id>.wav`, `Y<id>.wav`, and either with times behind the id. Segments without a file are left out
    and counted; of several files of one segment the first by name is taken.

    Args:
        train: `"balanced"` trains on the balanced segments (20k), `"all"` on those and the unbalanced ones (2M).

    Raises:
        UsageError: if a table is missing or has another layout, or a part has no audio at all.
    """
    if train not in TRAINING_TABLES:
        raise UsageError(f"AudioSet has no training part {train!r}; there are {' and '.join(TRAINING_TABLES)}")
    report = FileReport()
    names = find_names([root], report, endings=(".csv",))
    tables = _tables(root, [name for name in names if name.endswith(".csv")], [*TRAINING_TABLES[train], EVAL, LABELS])
    names = [name for name in names if not name.lower().endswith(".csv") and _is_text(name, report)]
    class_of = _classes(tables[LABELS])

    paths = pa.array(names, pa.large_string())
    test = _match(root, "test", read_labels([tables[EVAL]]), paths)
    training = _match(root, "train", read_labels([tables[name] for name in TRAINING_TABLES[train]]), paths)
    clips = [clip for segments in (training, test) for clip in _clips(segments, names, class_of)]
    return Task(
        name="audioset",
        label="labels",
        clips=tuple(clips),
        classes=tuple(class_of.values()),
        split="official balanced train and eval" if train == "balanced" else "official train (all) and eval",
        metrics=("macro_map", "d_prime", "lwlrap"),
        multi_label=True,
        left_out=_left_out(root, training, test, report),
    )


def _tables(root: Path, found: list[str], wanted: list[str]) -> dict[str, Path]:
    """The tables by name, wherever they lie; of several of one name, that nearest to the root."""
    tables: dict[str, Path] = {}
    for path in sorted(map(Path, found), key=lambda path: len(path.parts)):
        tables.setdefault(path.name, path)
    for name in wanted:
        if name not in tables:
            raise UsageError(
                f"there is no {name} in {root} or below it; AudioSet's tables {', '.join(wanted)} were expected there"
            )
    return tables


def _classes(table: Path) -> dict[str, str]:
    """The class of each label id, in the order of the table; two of one name are told apart by their ids."""
    rows = read_table(table, ("index", "mid", "display_name"), "the table of AudioSet's labels")
    times = Counter(row["display_name"] for row in rows.values())
    return {
        row["mid"]: row["display_name"] if times[row["display_name"]] == 1 else f"{row['display_name']} ({row['mid']})"
        for row in rows.values()
    }


def _is_text(name: str, report: FileReport) -> bool:
    """Whether a file's name is UTF-8, as ids are and as Arrow needs it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        report.add(name, "misnamed: no UTF-8")
        return False
    return True


def _match(root: Path, part: str, table: ClipLabels, names: pa.Array) -> Segments:
    rows = find(names, table.ids)
    found, files = np.unique(rows, return_index=True)  # the first file of each segment; -1 is no segment
    files = np.sort(files[found >= 0])
    if not len(files):
        raise UsageError(
            f"none of the {len(names):,} audio files in {root} is named by a YouTube id of AudioSet's {part} part; "
            f"names like <id>.wav, Y<id>.wav or Y<id>_30.000_40.000.wav were expected"
        )
    return Segments(part, table, files, rows[files])


def _clips(segments: Segments, names: list[str], class_of: dict[str, str]) -> list[Clip]:
    """The clips of a part. Two million of them share few sets of labels, so each set is made once."""
    table = segments.table
    unknown = [label for label in table.classes if label not in class_of]
    if unknown:
        raise UsageError(
            f"the segments of AudioSet's {segments.part} part have the label {unknown[0]!r}, which {LABELS} lacks"
        )
    known = [class_of[label] for label in table.classes]
    sets: dict[bytes, tuple[str, ...]] = {}
    clips = []
    for file, row in zip(segments.files.tolist(), segments.rows.tolist(), strict=True):
        numbers = table.labels[table.ends[row] : table.ends[row + 1]]
        key = numbers.tobytes()
        if key not in sets:
            sets[key] = tuple(known[number] for number in numbers)
        clips.append(Clip(Path(names[file]), sets[key], segments.part))
    return clips


def _left_out(root: Path, training: Segments, test: Segments, report: FileReport) -> str:
    """How much of the set was found, and what else there was that cannot be read."""
    if len(training.files) == len(training.table) and len(test.files) == len(test.table) and not len(report):
        return ""
    sentence = (
        f"{len(training.files):,} of the {len(training.table):,} segments to train on and {len(test.files):,} of the "
        f"{len(test.table):,} to test on were found in {root}"
    )
    if len(report):
        path, reason = report.items()[0]
        sentence += f"; {counted(len(report), 'path')} there could not be used, one of them {printable(path)}: {reason}"
    return sentence
