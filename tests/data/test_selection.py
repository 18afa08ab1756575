"""Filters of an index: each against a loop over its rows."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from byol_a.data.index import AudioIndex
from byol_a.data.selection import FilterConfig, select
from byol_a.errors import UsageError

PATHS = ["a/1.wav", "a/2.flac", "b/x y.wav", "b/[1].wav", "b/c/3.WAV", "z.wav", "dots.v2.wav", "a/ü.wav"]


def index() -> AudioIndex:
    count = len(PATHS)
    digests = [b"1" * 16, b"2" * 16, b"1" * 16, None, None, b"3" * 16, b"2" * 16, b"1" * 16]
    return AudioIndex(
        pa.table(
            {
                "root": ["/data"] * count,
                "path": PATHS,
                "frames": pa.array([None if n == 5 else 100 * (n + 1) for n in range(count)], pa.int64()),
                "duration": pa.array([None if n == 5 else 0.5 * n for n in range(count)], pa.float64()),
                "silence": np.linspace(0, 1, count).astype(np.float32),
                "digest": digests,
                "error": ["empty" if n == 5 else None for n in range(count)],
            }
        )
    )


def kept(**settings: object) -> list[str]:
    chosen, turned_away = select(index(), FilterConfig(**settings))  # type: ignore[arg-type]
    assert len(chosen) + sum(turned_away.values()) == len(PATHS)
    return chosen.table["path"].to_pylist()


GOOD = [path for path in PATHS if path != "z.wav"]


def test_rows_that_cannot_be_used_always_go() -> None:
    assert kept() == GOOD
    assert select(index(), FilterConfig())[1] == {"unusable": 1}


@pytest.mark.parametrize(
    "glob", ["*.wav", "a/*", "b/*", "*/c/*", "?/?.wav", "b/[[]1].wav", "*[12].*", "*[!1].wav", "*ü*"]
)
def test_globs_are_those_of_fnmatch(glob: str) -> None:
    expected = [path for path in GOOD if fnmatch.fnmatchcase(path, glob)]
    assert expected and kept(include=[glob]) == expected
    assert kept(exclude=[glob]) == [path for path in GOOD if path not in expected]


@hypothesis_settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text("[]!^-\\*?:az0|&~ .\n$ü/", max_size=9), st.text("[]!^-\\:abz0|&~ .\n$ü/", min_size=1, max_size=6))
@example("[]", "[]")
@example("[!]", "[!]")
@example("[z-a]", "z")
@example("[!z-a]", "\n")
@example("[z-a!-9]", "5")
@example("[[:alpha:]]*", ":]x")
@example("[^a]", "^")
@example("[\\d]", "0")
@example("[a[b]", "[")
def test_any_glob_is_that_of_fnmatch(glob: str, name: str) -> None:
    paths = ["x" + name, "x"]
    rows = AudioIndex(pa.table({"root": ["/data"] * 2, "path": paths}))
    expected = [path for path in paths if fnmatch.fnmatchcase(path, "x" + glob)]
    if expected:
        assert select(rows, FilterConfig(include=["x" + glob]))[0].table["path"].to_pylist() == expected
    else:
        with pytest.raises(UsageError, match="2 not included"):
            select(rows, FilterConfig(include=["x" + glob]))


def test_globs_that_are_no_text_match_names_that_are_none() -> None:
    names = AudioIndex.from_files(["/a/\udcff.wav", "/a/b.wav"])
    assert select(names, FilterConfig(exclude=["\udcff*"]))[0].names() == ["/a/b.wav"]


def test_a_glob_beyond_the_engine_is_wrong_use() -> None:
    glob = "a?" * 400_000
    with pytest.raises(UsageError, match=r"the glob 'a\?a\?.* cannot be used"):
        kept(include=[glob])


def test_several_globs_are_either() -> None:
    assert kept(include=["a/*", "dots*"], exclude=["*.flac", "*ü*"]) == ["a/1.wav", "dots.v2.wav"]


def test_duration_and_silence() -> None:
    assert kept(min_seconds=1.0) == [path for n, path in enumerate(PATHS) if n != 5 and 0.5 * n >= 1]
    assert kept(max_silence=0.5) == PATHS[:4]


def test_the_first_of_equal_sounds_stays() -> None:
    assert kept(dedupe=True) == ["a/1.wav", "a/2.flac", "b/[1].wav", "b/c/3.WAV"]
    # What another filter took away is no first.
    assert kept(dedupe=True, exclude=["a/1.wav"]) == ["a/2.flac", "b/x y.wav", "b/[1].wav", "b/c/3.WAV"]


def test_ids(tmp_path: Path) -> None:
    table = tmp_path / "ids.csv"
    table.write_text("file_name,label\n1,x\ndots.v2.wav,y\n")
    assert kept(ids=str(table)) == ["a/1.wav", "dots.v2.wav"]


def test_nothing_left_is_an_error_that_says_why() -> None:
    with pytest.raises(UsageError, match=r"no clip of the 8 .*: 1 unusable, 7 not included"):
        kept(include=["nothing"])


def test_names_alone_do_not_tell_durations() -> None:
    names = AudioIndex.from_files(["/a/1.wav", "/a/2.wav"])
    assert len(select(names, FilterConfig(include=["1*"]))[0]) == 1
    for settings in (FilterConfig(min_seconds=1), FilterConfig(max_silence=0.5), FilterConfig(dedupe=True)):
        with pytest.raises(UsageError, match="byol-a scan"):
            select(names, settings)


@pytest.mark.parametrize(
    ("column", "filters"),
    [("duration", {"min_seconds": 1}), ("silence", {"max_silence": 0.5}), ("digest", {"dedupe": True})],
)
def test_a_filter_needs_its_column(column: str, filters: dict[str, float]) -> None:
    table = index().table
    nulls = pa.nulls(len(table), table[column].type)
    for lacking in (
        table.drop_columns([column]),
        table.set_column(table.schema.get_field_index(column), column, nulls),
    ):
        with pytest.raises(UsageError, match=f"by {column} .*byol-a scan"):
            select(AudioIndex(lacking), FilterConfig(**filters))  # type: ignore[arg-type]
        assert len(select(AudioIndex(lacking), FilterConfig())[0]) == len(GOOD)


def test_impossible_limits() -> None:
    with pytest.raises(UsageError, match="min_seconds"):
        FilterConfig(min_seconds=-1)
    with pytest.raises(UsageError, match="max_silence"):
        FilterConfig(max_silence=1.5)
