"""The index on damaged and made-up tables: rows below their roots, or an error; nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from byol_a.data.clips import FileClips
from byol_a.data.index import SCHEMA, AudioIndex
from byol_a.data.selection import FilterConfig, select
from byol_a.errors import ByolaError

from .budget import fuzz, memory_limit, time_limit
from .mutations import Mutation, mutate, mutations

ROWS = 12
KINDS = [pa.string(), pa.large_string(), pa.binary(), pa.int8(), pa.int64(), pa.uint64(), pa.float64(), pa.bool_()]
KINDS += [pa.null(), pa.list_(pa.int64()), pa.dictionary(pa.int8(), pa.string()), pa.struct([("x", pa.int64())])]
NAMES = [
    "a.wav",
    "a/b.flac",
    "../x.wav",
    "a/../../x",
    "/etc/passwd",
    "",
    "..",
    "a\0b",
    "C:\\x",
    "\\..\\x",
    "a//b",
    "./a",
]
NAMES += ["..wav", ".../x", "a/..", "s.tar/../x", "s.tar/a", "\u2025/x", "a\n/../b", "~root/x", "a/\u202e..", "-rf"]


def small_index() -> AudioIndex:
    columns: dict[str, Any] = {
        "root": pa.array(["/data/a", "/data/b"] * (ROWS // 2)).dictionary_encode(),
        "path": pa.array([f"x/{row}.wav" for row in range(ROWS - 1)] + ["shard.tar/key.flac"], pa.large_string()),
        "raw_path": pa.array([b"caf\xe9.wav"] + [None] * (ROWS - 1), pa.large_binary()),
        "offset": pa.array([None] * (ROWS - 1) + [512], pa.int64()),
        "size": pa.array(range(1000, 1000 + ROWS), pa.int64()),
        "digest": pa.array([bytes([row]) * 16 for row in range(ROWS)], pa.binary()),
        "error": pa.array(["truncated: 3 of 4 bytes"] + [None] * (ROWS - 1)),
    }
    for field in SCHEMA:
        if field.name not in columns:
            value: Any = "WAV" if pa.types.is_dictionary(field.type) else 1
            column = pa.array([None] + [value] * (ROWS - 1), pa.string() if value == "WAV" else field.type)
            columns[field.name] = column.dictionary_encode() if value == "WAV" else column
    return AudioIndex(pa.table(columns))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("index") / "index.parquet"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("index") / "original.parquet"
    small_index().write(path)
    return path.read_bytes()


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    with memory_limit():
        yield


def check(path: Path) -> bool:
    with time_limit():
        try:
            index = AudioIndex.read(path)
        except ByolaError as error:
            assert "alloc" not in str(error)
            return False
        use(index)
        return True


def use(index: AudioIndex) -> None:
    """Everything that is done with an index, short of reading files that exist."""
    for row, name in enumerate(index.names()):
        root = index.roots[index.table["root"].combine_chunks().indices[row].as_py()]
        # Not os.path.normpath on one side alone: what the system is asked for must lie below the root.
        assert os.path.normpath(name).startswith(os.path.normpath(root).rstrip("/") + "/")
        assert "\0" not in name and ".." not in name.removeprefix(root).split("/")
    assert len(index.fingerprint()) == 32
    index.problems()
    with suppress(ByolaError):
        select(index, FilterConfig(min_seconds=0.1, max_silence=0.5, include=["*"], exclude=["*.mp3"], dedupe=True))
    assert len(index.take(np.arange(len(index))[::-1])) == len(index)
    if len(index):
        clips = FileClips(index, 16000)
        for row in range(len(index)):
            with pytest.raises(ByolaError):
                clips.read(row, 0, 100)


@fuzz(400)
@given(changes=mutations([b"PAR1\x15\x04\x15"]))
def test_damaged_files(path: Path, original: bytes, changes: list[Mutation]) -> None:
    path.write_bytes(mutate(original, changes))
    check(path)


@fuzz(400)
@given(flips=st.lists(st.tuples(st.integers(-4096, -5), st.integers(1, 255)), min_size=1, max_size=3))
def test_damaged_footers(path: Path, original: bytes, flips: list[tuple[int, int]]) -> None:
    """Where a Parquet file says what and where its columns are."""
    data = bytearray(original)
    for at, bits in flips:
        data[max(at, -len(data))] ^= bits
    path.write_bytes(data)
    check(path)


@fuzz(200)
@given(data=st.data())
def test_made_up_tables(path: Path, data: st.DataObject) -> None:
    table = small_index().table
    for name in data.draw(st.lists(st.sampled_from(SCHEMA.names), min_size=1, max_size=3, unique=True)):
        place = table.schema.get_field_index(name)
        if place < 0:
            continue
        if data.draw(st.booleans()):
            table = table.remove_column(place)
        else:
            table = table.set_column(place, name, column(data, table.schema.field(place).type))
    pq.write_table(table, path)
    check(path)


def column(data: st.DataObject, usual: pa.DataType) -> pa.Array:
    kind = data.draw(st.sampled_from([*KINDS, usual, usual]))
    numbers = st.one_of(st.integers(-3, 3), st.sampled_from([-(2**63), 2**63 - 1, 2**31, 2**15]))
    value = st.one_of(st.none(), numbers, st.floats(), st.sampled_from(NAMES), st.binary(max_size=8))
    values = data.draw(st.lists(value, min_size=ROWS, max_size=ROWS))
    if pa.types.is_dictionary(kind):
        return pa.array([None if value is None else str(value) for value in values]).dictionary_encode()
    converted = []
    for value in values:
        try:
            converted.append(pa.scalar(value, kind).as_py())
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            converted.append(None)
    return pa.array(converted, kind)


@pytest.mark.parametrize("name", NAMES)
def test_names(path: Path, name: str) -> None:
    """Alone, so that none hides behind another that is refused."""
    kept = {"path": pa.array([name], pa.large_string()), "raw_path": pa.array([None], pa.large_binary())}
    raw = {"path": pa.array(["x"], pa.large_string()), "raw_path": pa.array([name.encode()], pa.large_binary())}
    leads_out = name in ("", "..") or name.startswith("/") or "\0" in name or ".." in name.split("/")
    for columns in (kept, raw):
        pq.write_table(pa.table({"root": pa.array(["/data"]).dictionary_encode(), **columns}), path)
        assert check(path) is not leads_out
