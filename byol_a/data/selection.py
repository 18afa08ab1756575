"""Which rows of an index to use: decided where it is used, so that one scan serves many purposes."""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from byol_a.data.audioset import match, read_ids
from byol_a.data.index import AudioIndex, readable
from byol_a.errors import UsageError


@dataclass
class FilterConfig:
    """What a clip must be to be used.

    `min_seconds`: shortest duration. `max_silence`: the largest fraction of samples that are exactly zero.
    `include`, `exclude`: globs over the path below its root (`*` also matches `/`): at least one of the former must
    match, and none of the latter. `ids`: a CSV whose first column names the clips to keep, by file stem or by the id
    in AudioSet's file names. `dedupe`: keep the first of several files that hold the same sound.
    """

    min_seconds: float = 0.0
    max_silence: float = 1.0
    include: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    ids: str | None = None
    dedupe: bool = False

    def __post_init__(self) -> None:
        if not self.min_seconds >= 0:
            raise UsageError(f"min_seconds must be at least 0, not {self.min_seconds}")
        if not 0 <= self.max_silence <= 1:
            raise UsageError(f"max_silence must lie in 0 to 1, not {self.max_silence}")

    @property
    def measurements(self) -> list[str]:
        """The index columns of what names alone do not tell."""
        asked = {"duration": self.min_seconds > 0, "silence": self.max_silence < 1, "digest": self.dedupe}
        return [name for name, is_asked in asked.items() if is_asked]

    @property
    def columns(self) -> list[str]:
        """The index columns that `select` looks at."""
        return ["duration", "silence", "error", "frames", *(["digest"] if self.dedupe else [])]


def select(index: AudioIndex, config: FilterConfig) -> tuple[AudioIndex, dict[str, int]]:
    """The usable rows that pass the filters, and how many each reason turned away (the first that applied).

    Raises:
        UsageError: if nothing is left, or a filter needs a scan that was not made.
    """
    for name in config.measurements:
        values = index.column(name)
        if len(values) and values.null_count == len(values) and index.column("error").null_count:
            raise UsageError(
                f"a filter by {name} needs an index with that column, which nothing here fills; scan the files with "
                "`byol-a scan DIR --out INDEX` and give that index"
            )
    kept = np.ones(len(index), bool)
    turned_away: dict[str, int] = {}

    def keep(mask: np.ndarray, reason: str) -> None:
        dropped = int(np.count_nonzero(kept & ~mask))
        if dropped:
            turned_away[reason] = dropped
        kept[:] &= mask

    keep(index.column("error").is_null().to_numpy(), "unusable")
    if config.include:
        keep(_matches(index, config.include), "not included")
    if config.exclude:
        keep(~_matches(index, config.exclude), "excluded")
    if config.ids is not None:
        keep(match(index.table["path"], read_ids(config.ids)), f"not in {config.ids}")
    if config.min_seconds:
        keep(index.array("duration") >= config.min_seconds, f"shorter than {config.min_seconds:g} s")
    if config.max_silence < 1:
        keep(index.array("silence") <= config.max_silence, f"more than {config.max_silence:.0%} silence")
    if config.dedupe:
        keep(_first_of_each(index, kept), "the same sound as another file")
    if not kept.any():
        reasons = ", ".join(f"{count} {reason}" for reason, count in turned_away.items()) or "it is empty"
        raise UsageError(f"no clip of the {len(index)} in the index can be used: {reasons}")
    return (index if kept.all() else index.take(kept)), turned_away


def _matches(index: AudioIndex, globs: list[str]) -> np.ndarray:
    # One pass of a compiled expression over all paths; RE2 knows no look-ahead, hence the plain translation.
    texts = [readable(os.fsencode(glob))[0] for glob in globs]  # as the paths are, of names that are no text
    pattern = "|".join(f"(?:{_regular_expression(text)})" for text in texts)
    try:
        result: np.ndarray = pc.match_substring_regex(index.table["path"], f"^(?s:{pattern})$").to_numpy()
    except pa.ArrowInvalid as error:
        names = ", ".join(map(repr, globs))
        reason = str(error).splitlines()[0]
        raise UsageError(f"the glob {names} cannot be used ({reason}); give a simpler one") from error
    return result


# A set in brackets, which holds something: "]" stands for itself in the first place.
_SET = r"\[(?:!|(?!!))(?:\][^\]]*|[^\]]+)\]"


def _regular_expression(glob: str) -> str:
    """A glob as an expression for RE2, which knows no look-ahead: `fnmatch.translate` uses what it lacks."""
    parts = re.split(rf"(\*+|\?|{_SET})", glob)
    text = ""
    for number, part in enumerate(parts):
        if number % 2 == 0:
            text += re.escape(part)
        elif part[0] == "[":
            text += _set(part)
        else:
            text += "." if part == "?" else ".*"
    return text


def _set(part: str) -> str:
    """A set in brackets, as `fnmatch` understands it."""
    inside = fnmatch.translate(part)[len("(?s:") : -len(r")\Z")]
    if inside == "(?!)":  # nothing, as of "[z-a]"
        return r"[^\x{0}-\x{10FFFF}]"
    # RE2 takes "[:" within a set for the name of a class; what is escaped already stays.
    return inside[0] + re.sub(r"(\\.)|\[", lambda found: found[1] or r"\[", inside[1:], flags=re.S)


def _first_of_each(index: AudioIndex, kept: np.ndarray) -> np.ndarray:
    """Mask of the first kept row with each digest; rows without one count as different from all others."""
    digests = index.column("digest")
    rows = np.flatnonzero(kept)
    table = pa.table({"digest": digests.take(pa.array(rows)), "row": rows})
    table = table.filter(pc.is_valid(table["digest"]))
    firsts = table.group_by("digest").aggregate([("row", "min")])["row_min"].to_numpy()
    mask: np.ndarray = digests.is_null().to_numpy().copy()
    mask[firsts] = True
    return mask
