"""What a task is: labelled clips and the official way to divide them. Plus what every loader needs."""

from __future__ import annotations

import csv
import itertools
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from byol_a.errors import ByolaError, UsageError

PARTS = ("train", "valid", "test")
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation", "dev"), "valid"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}


@dataclass(frozen=True, slots=True)
class Clip:
    """One labelled piece of audio: a file, or a section of one.

    Attributes:
        part: the fold the clip is in, or `"train"`, `"valid"` or `"test"`.
        group: what must not stand on both sides when a validation part is drawn (a speaker, a recording).
        section: from and to which second of the file the clip goes; None for all of it.
    """

    path: Path
    labels: tuple[str, ...]
    part: str
    group: str | None = None
    section: tuple[float, float] | None = None


class Round(NamedTuple):
    """One training and one test, as indices into a task's clips; no validation part means: draw one."""

    name: str
    train: list[int]
    valid: list[int]
    test: list[int]


@dataclass(frozen=True)
class Task:
    """A labelled set and how the field scores it.

    A loader gives what the files say; `load_task` adds what the recipe knows of the set (its name, domain,
    unit, size and metrics).

    Attributes:
        label: what is predicted ("category", "digit").
        classes: every class that occurs, in the order of tables and pictures.
        split: where the division comes from ("5 official folds"; "made here: ..." if it is ours).
        metrics: names in `downstream.metrics.METRICS`; the first one is the task's own.
        unit_seconds: the length the field cuts clips to; None for whole clips.
        multi_label: whether a clip may have any number of labels.
        expected_clips: how many the full set has; None if that is not known.
        expected_parts: how many its train, valid and test parts have, where that is known.
        expected_classes: how many classes it has; None if that is not known.
        left_out: audio that was seen and could not be listed, and what else the files have that cannot be used, in
            a sentence; empty if there was none.
        domain: environment, speech, music, or any.
        title: the set's name as it is written ("ESC-50").
        source: where the set is published.
        root: the folder it was read from.
        protocols: settings that a protocol takes for this task, by the protocol's name.
    """

    name: str
    label: str
    clips: tuple[Clip, ...]
    classes: tuple[str, ...]
    split: str
    metrics: tuple[str, ...] = ("accuracy",)
    unit_seconds: float | None = None
    multi_label: bool = False
    expected_clips: int | None = None
    expected_parts: Mapping[str, int] = field(default_factory=dict)
    expected_classes: int | None = None
    left_out: str = ""
    domain: str = "any"
    title: str = ""
    source: str = ""
    root: Path = Path()
    protocols: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def folds(self) -> tuple[str, ...]:
        """The folds' names; empty where the clips are divided into train, valid and test."""
        names = {clip.part for clip in self.clips}
        return () if names <= set(PARTS) else tuple(sorted(names, key=natural_order))

    @property
    def split_made_here(self) -> bool:
        """Whether the division is ours, so that scores compare with nobody else's."""
        return self.split.startswith("made here")

    def only(self, indices: Collection[int]) -> Task:
        """The task with some of its clips; the classes stay."""
        return replace(self, clips=tuple(self.clips[index] for index in indices))

    def rounds(self) -> list[Round]:
        """The trainings and tests to do: one per fold (tested on it, trained on the others), or one.

        Raises:
            ByolaError: if a round has nothing to train on or to be tested on.
        """
        members: dict[str, list[int]] = {part: [] for part in self.folds or PARTS}
        for index, clip in enumerate(self.clips):
            members[clip.part].append(index)
        if self.folds:
            rounds = [
                Round(fold, [i for i in range(len(self.clips)) if self.clips[i].part != fold], [], members[fold])
                for fold in self.folds
            ]
        else:
            rounds = [Round("test", members["train"], members["valid"], members["test"])]
        for part in rounds:
            if not part.train or not part.test:
                raise ByolaError(
                    f"{self.name} cannot be scored: {len(part.train)} clips to train on and {len(part.test)} "
                    f"to test on are left in {part.name!r}"
                )
        return rounds

    def warnings(self) -> list[str]:
        """What a reader of the scores must know: files left out, an incomplete copy, a split of our own."""
        found = [self.left_out] if self.left_out else []
        if self.expected_clips is not None and len(self.clips) != self.expected_clips:
            found.append(
                f"{len(self.clips):,} clips of {len(self.classes)} classes are listed, of the "
                f"{self.expected_clips:,} clips of all {self.name}: scores do not compare with those of the whole"
            )
        else:
            found += self._unequal_parts()
        if self.expected_classes is not None and len(self.classes) != self.expected_classes:
            found.append(
                f"there are {len(self.classes):,} classes and all {self.name} has {self.expected_classes:,}: scores do "
                f"not compare"
            )
        if self.split_made_here:
            found.append(f"no official split was given; {self.split}: compare such scores with one another only")
        return found

    def _unequal_parts(self) -> list[str]:
        """Whole in sum, but divided otherwise than the set's authors did."""
        counts = Counter(clip.part for clip in self.clips)
        return [
            f"the {part} part has {counts[part]:,} clips and {self.name}'s own has {expected:,}: scores do not compare"
            for part, expected in self.expected_parts.items()
            if counts[part] != expected
        ]

    def describe(self) -> str:
        """The task in one line."""
        unit = "" if self.unit_seconds is None else f", the set's unit is {self.unit_seconds:g} s"
        return f"{self.name}, {self.label}: {len(self.clips):,} clips, {len(self.classes)} classes, {self.split}{unit}"


def natural_order(name: str) -> tuple[bool, int, str, str]:
    """Sort key that puts "2" before "10", and numbers before words."""
    digits = name.lstrip("0") if name.isdecimal() else ""  # not as an int: Python refuses very long ones
    return (not name.isdecimal(), len(digits), digits, name)


def expect(path: Path, what: str) -> Path:
    """`path` itself, if it exists; a `UsageError` saying what was expected there otherwise."""
    if not path.exists():
        raise UsageError(f"{path} does not exist; {what} was expected there")
    return path


def expect_folder(path: Path, what: str) -> Path:
    """`path` itself, if it is a folder; a `UsageError` otherwise."""
    if not expect(path, what).is_dir():
        raise UsageError(f"{path} is not a folder; {what} was expected there")
    return path


def inside(folder: Path, name: str, place: str) -> Path:
    """The file that a table calls `name`, which must lie in `folder` or below it.

    Args:
        place: the table, and the line in it, for the error.

    Raises:
        UsageError: for no name, a hidden file's, or one that leads out of the folder.
    """
    file = name.rpartition("/")[2]
    if not file or file.startswith(".") or name.startswith("/") or ".." in name.split("/") or "\0" in name:
        raise UsageError(f"{place} names the file {name[:80]!r}; the name of one in {folder} was expected")
    return Path(folder, name)


def each_once(table: Path, names: Mapping[int, str]) -> None:
    """See that a table lists no file twice, which might put it on both sides of a round.

    Args:
        names: of files, by their lines.

    Raises:
        UsageError: for the first file that is listed again.
    """
    line_of: dict[str, int] = {}
    for line, name in names.items():
        first = line_of.setdefault(os.path.normpath(name), line)
        if first != line:
            raise UsageError(
                f"{table}, lines {first} and {line} name the same file {name!r}; a file has one row, with all its "
                f"labels in one cell"
            )


def read_table(
    path: Path, columns: Collection[str], what: str, unnamed: Sequence[str] | None = None
) -> dict[int, dict[str, str]]:
    """The rows of a CSV file, each by the number of the line it begins in; blank lines are passed over.

    Args:
        columns: those that must be there, and of which every row must have a cell; other cells may be missing at
            a row's end, and are empty then.
        unnamed: the columns of a file whose first line is a row already.

    Raises:
        UsageError: if it is missing, no CSV text, without a column or without rows, or has a row of another length;
            `what` says what it is.
    """
    lines: dict[int, list[str]] = {}
    try:
        with expect(path, what).open(encoding="utf-8-sig", newline="") as stream:
            reader, number = csv.reader(stream), 1
            for cells in reader:
                if cells:
                    lines[number] = cells
                number = reader.line_num + 1
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as a CSV table ({error}); {what} was expected there") from error
    header = unnamed or (lines.pop(next(iter(lines))) if lines else ())
    missing = [column for column in columns if column not in header]
    if missing:
        raise UsageError(f"{path} has no column {missing[0]!r}; {what} has the columns {', '.join(columns)}")
    if not lines:
        raise UsageError(f"{path} has no rows; {what} was expected there")
    least = max((list(header).index(column) + 1 for column in columns), default=0)
    for number, cells in lines.items():
        if len(cells) > len(header):
            raise UsageError(f"{path}, line {number} has more cells than columns; quote cells that hold commas")
        if len(cells) < least:
            raise UsageError(f"{path}, line {number} has fewer cells than columns; every row needs them all")
    return {number: dict(itertools.zip_longest(header, cells, fillvalue="")) for number, cells in lines.items()}


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a text file, without surrounding spaces; empty ones are kept so that places are line numbers.

    Raises:
        UsageError: if it is missing, no UTF-8 text, or without any text; `what` says what it is.
    """
    try:
        lines = [line.strip() for line in expect(path, what).read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as text ({error}); {what} was expected there") from error
    if not any(lines):
        raise UsageError(f"{path} is empty; {what} was expected there")
    return lines
