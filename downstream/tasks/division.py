"""Dividing a set that comes without a division: as the user's lists say, or here, by a hash of the names.

A list is one of these:

- a CSV table with the column `split` (train, valid, test) or `fold`, and `file_name`, or `group` for all clips of
  an actor, an archive, a tone at once;
- a folder of text files whose names begin with train, valid and test, one file name a line.

File names may be given with or without their extension (a list of .wav names serves a copy in .au).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from byol_a.data.formats import AUDIO_EXTENSIONS
from byol_a.errors import UsageError
from downstream.tasks.base import SPLIT_WORDS, Clip, read_lines, read_table


class Division(NamedTuple):
    """The clips, each with its part; where the division comes from; and what it leaves out, in a sentence."""

    clips: tuple[Clip, ...]
    source: str
    left_out: str = ""


def divide(
    clips: Sequence[Clip],
    names: Sequence[Sequence[str]],
    split: str | Path | None,
    shares: Mapping[str, float],
    what: str,
    units: Sequence[str] | None = None,
    by_class: bool = False,
) -> Division:
    """Divide as the list at `split` says, or here where there is none; see `divide_as_given` and `divide_here`.

    Args:
        units: None for the clips' groups.
    """
    if split is not None:
        return divide_as_given(clips, names, split)
    return divide_here(clips, units or [str(clip.group) for clip in clips], shares, what, by_class)


def divide_as_given(clips: Sequence[Clip], names: Sequence[Sequence[str]], given: str | Path) -> Division:
    """Divide as the list at `given` says; clips that it does not name are left out.

    Args:
        names: for each clip what the list may call it, beside its group.

    Raises:
        UsageError: if there is no such list, or it names none of the clips, or one of them in two parts.
    """
    given = Path(given)
    part_of, source = _read_folder(given) if given.is_dir() else _read_table(given)
    found, met = [], set()
    for clip, of_clip in zip(clips, names, strict=True):
        keys = [bare(name) for name in of_clip] + ([] if clip.group is None else [clip.group])
        listed = [key for key in keys if key in part_of]
        parts = {part_of[key] for key in listed}
        if len(parts) > 1:
            raise UsageError(f"{given} puts {clip.path} into {' and '.join(sorted(parts))}, as {' and '.join(listed)}")
        if listed:
            met.update(listed)
            found.append(replace(clip, part=part_of[listed[0]]))
    if not found:
        raise UsageError(
            f"{given} names none of the {len(clips)} clips; it begins with {next(iter(part_of))!r}, and the first "
            f"clip is {names[0][0] if names else 'missing'!r}"
        )
    missing, unnamed = len(part_of) - len(met), len(clips) - len(found)
    sentence = f"{unnamed:,} clips are not in {given}, and {missing:,} of its {len(part_of):,} names are not found"
    return Division(tuple(found), f"given by {source}", sentence if missing or unnamed else "")


def divide_here(
    clips: Sequence[Clip], units: Sequence[str], shares: Mapping[str, float], what: str, by_class: bool = False
) -> Division:
    """Divide units (actors, archives, single clips) by the rank of a hash of their names: the same everywhere.

    Args:
        units: for each clip the name of the unit it belongs to.
        shares: of the units, for each part in turn; they add up to 1.
        what: the units, as the score rows will call them ("whole actors").
        by_class: divide the units of each class by themselves.
    """
    members: dict[str, set[str]] = defaultdict(set)
    for clip, unit in zip(clips, units, strict=True):
        members[clip.labels[0] if by_class else ""].add(unit)
    part_of = {(key, unit): part for key, of_key in members.items() for unit, part in _rank(of_key, shares).items()}
    divided = tuple(
        replace(clip, part=part_of[clip.labels[0] if by_class else "", unit])
        for clip, unit in zip(clips, units, strict=True)
    )
    described = ", ".join(f"{100 * share:.0f} % {part}" for part, share in shares.items())
    return Division(divided, f"made here: {what} by a hash of their names, {described}")


def bare(name: str) -> str:
    """A file's name as lists are compared by: with forward slashes, and without an audio extension."""
    name = name.replace("\\", "/").removeprefix("./")
    stem, extension = os.path.splitext(name)  # noqa: PTH122 (names, not paths)
    return stem if extension.lower() in AUDIO_EXTENSIONS else name


def _rank(units: set[str], shares: Mapping[str, float]) -> dict[str, str]:
    """The part of each unit. Every part has one at least, as far as they go round."""
    ranked = sorted(units, key=lambda unit: hashlib.blake2b(os.fsencode(unit), digest_size=16).digest())
    parts, part_of, taken, share = list(shares), {}, 0, 0.0
    for index, part in enumerate(parts):
        share += shares[part]
        upto = min(max(round(share * len(ranked)), taken + 1), max(len(ranked) - (len(parts) - 1 - index), taken))
        part_of.update(dict.fromkeys(ranked[taken:upto], part))
        taken = upto
    return part_of


def _read_folder(folder: Path) -> tuple[dict[str, str], str]:
    lists: dict[str, Path] = {}
    for path in sorted(folder.glob("*.txt")):
        word = re.match(r"[a-z]*", path.name.lower())
        part = SPLIT_WORDS.get(word.group() if word else "")
        if part in lists:
            raise UsageError(f"{lists[part]} and {path} are both lists of the {part} part; keep one of them there")
        if part:
            lists[part] = path
    missing = [part for part in ("train", "test") if part not in lists]
    if missing:
        raise UsageError(
            f"{folder} has no list of the {missing[0]} part; text files whose names begin with train, valid and test "
            f"were expected there, one file name a line"
        )
    part_of: dict[str, str] = {}
    for part, path in lists.items():
        for number, line in enumerate(read_lines(path, "a list of file names"), start=1):
            if line:
                _note(part_of, bare(line), part, f"{path}, line {number}")
    return part_of, ", ".join(path.name for path in lists.values())


def _read_table(path: Path) -> tuple[dict[str, str], str]:
    what = "a table with the columns file_name (or group) and split (or fold), or a folder of lists,"
    rows = read_table(path, (), what)
    header = next(iter(rows.values()))
    name, part_column = (
        next((column for column in columns if column in header), None)
        for columns in (("file_name", "group"), ("split", "fold"))
    )
    if name is None or part_column is None:
        raise UsageError(f"{path} has the columns {', '.join(header)}; {what} was expected there")
    part_of: dict[str, str] = {}
    for number, row in rows.items():
        word, key = (row[column].strip() for column in (part_column, name))
        part = SPLIT_WORDS.get(word.lower(), "") if part_column == "split" else word
        if not part:
            kinds = "none of train, valid and test" if part_column == "split" else "no fold"
            raise UsageError(f"{path}, line {number}: the {part_column} {word!r} is {kinds}")
        _note(part_of, bare(key) if name == "file_name" else key, part, f"{path}, line {number}")
    if len(set(part_of.values())) < 2:
        raise UsageError(f"{path} puts everything into one part; at least two are needed")
    return part_of, path.name


def _note(part_of: dict[str, str], name: str, part: str, place: str) -> None:
    if part_of.setdefault(name, part) != part:
        raise UsageError(f"{place} puts {name!r} into {part}, and it is in {part_of[name]} already")
