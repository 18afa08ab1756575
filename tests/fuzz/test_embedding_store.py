"""The embedding store with any of its files damaged or made up, opened and continued: an error, or a right answer."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from byol_a.data.report import FileReport
from byol_a.errors import ByolaError
from byol_a.matrix import FORMATS, matrix_header, matrix_name
from byol_a.store import BAD_FILES, PROVENANCE, ROWS, read_store
from byol_a.store_writer import PARTS, Stamp, StoreWriter

from .budget import fuzz, memory_limit, time_limit
from .json_values import dump, variations
from .mutations import NUMBERS, Mutation, mutate, mutations

DIM, FILES = 3, 4
PART = f"{PARTS}/000000"


def settings(matrix_format: str) -> dict[str, Any]:
    return {"model": "0" * 32, "level": "clip", "format": matrix_format}


def add(writer: StoreWriter, number: int) -> None:
    span = np.array([0.0, 1.0]), np.array([1.0, 2.0]), np.full((2, DIM), number, np.float32)
    writer.add(f"/data/{number}.wav", Stamp(number, number), [span])


def make(folder: Path, matrix_format: str) -> Path:
    """A store of four files, and two more in a part that is not joined yet."""
    for numbers, finish in ((range(FILES), True), (range(FILES, FILES + 2), False)):
        with StoreWriter(folder, settings(matrix_format), {}, DIM) as writer:
            for number in numbers:
                add(writer, number)
            if finish:
                writer.finish(bad_files=0)
    return folder


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("stores")
    return {matrix_format: make(home / matrix_format, matrix_format) for matrix_format in FORMATS}


@cache
def original(folder: Path) -> dict[str, bytes]:
    """All files of a store, when this is first called."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    with memory_limit():
        yield


def check(folder: Path, files: dict[str, bytes]) -> None:
    content = original(folder) | files
    shutil.rmtree(folder)
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    with time_limit():
        for use in (read, go_on):
            try:
                use(folder)
            except ByolaError as error:
                assert len(str(error).splitlines()) == 1


def read(folder: Path) -> None:
    store = read_store(folder)
    assert store.embeddings.dtype == np.float32
    assert store.embeddings.shape[0] == len(store) == len(store.rows["file"].to_pylist())
    assert store.embeddings.sum() is not None
    FileReport.read(folder / BAD_FILES).summary()


def go_on(folder: Path) -> None:
    with StoreWriter(folder, settings(folder.name), {}, DIM) as writer:
        if "/data/9.wav" not in writer.done:
            add(writer, 9)
        store = writer.finish(bad_files=0)
    last = [row for row, name in enumerate(store.rows["file"].to_pylist()) if name == "/data/9.wav"]
    assert len(last) == 2 and (store.embeddings[last] == 9).all()


@fuzz(120)
@given(format_=st.sampled_from(FORMATS), data=st.data(), changes=mutations([]))
def test_damaged_files(stores: dict[str, Path], format_: str, data: st.DataObject, changes: list[Mutation]) -> None:
    folder = stores[format_]
    name = data.draw(st.sampled_from(sorted(original(folder))))
    check(folder, {name: mutate(original(folder)[name], changes)})


@fuzz(60)
@given(data=st.data())
def test_another_provenance(stores: dict[str, Path], data: st.DataObject) -> None:
    folder = stores["npy"]
    check(folder, {PROVENANCE: dump(data.draw(variations(json.loads(original(folder)[PROVENANCE]))))})


@fuzz(100)
@given(format_=st.sampled_from(FORMATS), data=st.data())
def test_a_matrix_with_another_header(stores: dict[str, Path], format_: str, data: st.DataObject) -> None:
    folder, name = stores[format_], matrix_name(format_)  # type: ignore[arg-type]
    whole = original(folder)[name]
    size = len(matrix_header(format_, 2 * FILES, DIM))  # type: ignore[arg-type]
    number = st.one_of(st.integers(-2, 20), st.sampled_from(NUMBERS))
    shape = data.draw(st.one_of(st.tuples(number, number), st.lists(number, max_size=3).map(tuple)))
    if format_ == "npy":
        descr = data.draw(st.sampled_from(["<f4", "<f4", ">f4", "|O", "<f8", "<f4,<f4", "|S4"]))
        text = repr({"descr": descr, "fortran_order": data.draw(st.booleans()), "shape": shape}) + "\n"
        header = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
    else:
        entry = {
            "dtype": data.draw(st.sampled_from(["F32", "F32", "I64", "x"])),
            "shape": shape,
            "data_offsets": [0, 96],
        }
        text = json.dumps(data.draw(st.one_of(st.just({"embeddings": entry}), variations({"embeddings": entry}))))
        claimed = data.draw(st.one_of(st.just(len(text)), st.sampled_from(NUMBERS))) % 2**64
        header = claimed.to_bytes(8, "little") + text.encode()
    check(folder, {name: header + whole[size:]})


@fuzz(50)
@given(data=st.data())
def test_other_tables(stores: dict[str, Path], data: st.DataObject) -> None:
    folder = stores["npy"]
    name = data.draw(st.sampled_from([ROWS, "files.parquet", f"{PART}.parquet"]))
    table = pq.read_table(io.BytesIO(original(folder)[name]))
    column = data.draw(st.sampled_from(table.column_names))
    place = table.schema.get_field_index(column)
    kind = data.draw(st.sampled_from([pa.int64(), pa.string(), pa.binary(), pa.null(), pa.list_(pa.int8())]))
    change = data.draw(st.sampled_from(["drop", "retype", "shorten", "metadata", "nothing"]))
    if change == "drop":
        table = table.remove_column(place)
    elif change == "retype":
        table = table.set_column(place, column, pa.nulls(len(table), kind))
    elif change == "shorten":
        table = table.slice(0, len(table) - 1)
    elif change == "metadata":
        stamps = data.draw(variations([["/data/4.wav", 4, 4], ["/data/5.wav", 5, 5]]))
        table = table.replace_schema_metadata(data.draw(st.sampled_from([None, {b"stamps": dump(stamps)}])))
    stream = io.BytesIO()
    pq.write_table(table, stream)
    check(folder, {name: stream.getvalue()})


def test_undamaged_it_is_read_and_continued(stores: dict[str, Path]) -> None:
    for folder in stores.values():
        check(folder, {})
        assert len(read_store(folder)) == 2 * (FILES + 3)
