"""What a task is: labelled clips and the official way to divide them. Plus what every loader needs."""

from __future__ import annotations

import csv
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from byol_a.errors import ByolaError, UsageError

PARTS = ("train", "valid", "test")
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation", "dev"), "valid"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}


@dataclass(frozen=True)
class Clip:
    """One labelled audio file.

    Attributes:
        part: the fold the clip is in, or `"train"`, `"valid"` or `"test"`.
        group: what must not stand on both sides when a validation part is drawn (a speaker, a recording).
    """

    path: Path
    labels: tuple[str, ...]
    part: str
    group: str | None = None


class Round(NamedTuple):
    """One training and one test, as indices into a task's clips; no validation part means: draw one."""

    name: str
    train: list[int]
    valid: list[int]
    test: list[int]


@dataclass(frozen=True)
class Task:
    """A labelled set and how the field scores it.

    Attributes:
        label: what is predicted ("category", "digit").
        classes: every class that occurs, in the order of tables and pictures.
        split: where the division comes from ("5 official folds"; "made here: ..." if it is ours).
        metrics: names in `downstream.metrics.METRICS`; the first one is the task's own.
        unit_seconds: the length the field cuts clips to; None for whole clips.
        multi_label: whether a clip may have any number of labels.
        expected_clips: how many the full set has; None if that is not known.
        left_out: audio that was seen and could not be listed, in a sentence; empty if there was none.
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
    left_out: str = ""

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
        if self.split_made_here:
            found.append(f"no official split was given; {self.split}: compare such scores with one another only")
        return found

    def describe(self) -> str:
        """The task in one line."""
        unit = "" if self.unit_seconds is None else f" (the set's unit is {self.unit_seconds:g} s)"
        return (
            f"{self.name}, {self.label}: {len(self.clips):,} clips, {len(self.classes)} classes, "
            f"{self.split}, whole clips{unit}"
        )


def natural_order(name: str) -> tuple[bool, int, str]:
    """Sort key that puts "2" before "10", and numbers before words."""
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)


def expect(path: Path, what: str) -> Path:
    """`path` itself, if it exists; a `UsageError` saying what was expected there otherwise."""
    if not path.exists():
        raise UsageError(f"{path} does not exist; {what} was expected there")
    return path


def read_table(path: Path, columns: Collection[str], what: str) -> list[dict[str, str]]:
    """The rows of a CSV file with a header; `columns` must be among its columns.

    Raises:
        UsageError: if it is missing, no CSV text, without a column or without rows; `what` says what it is.
    """
    try:
        with expect(path, what).open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            rows = list(reader)
            header = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as a CSV table ({error}); {what} was expected there") from error
    missing = [column for column in columns if column not in header]
    if missing:
        raise UsageError(f"{path} has no column {missing[0]!r}; {what} has the columns {', '.join(columns)}")
    for number, row in enumerate(rows, start=2):
        if any(row[column] is None for column in columns):
            raise UsageError(f"{path}, row {number} has fewer cells than the header; every row needs them all")
    if not rows:
        raise UsageError(f"{path} has a header and no rows; {what} was expected there")
    return rows
