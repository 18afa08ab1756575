"""The packed store with any of its files damaged or made up: right samples, or an error; nothing else."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from byol_a.data.clips import StoreClips
from byol_a.data.store.audio_store import CLIPS, LENGTH, START, STORE, AudioStore, is_store
from byol_a.data.store.pack import pack
from byol_a.errors import ByolaError

from .budget import fuzz, memory_limit, time_limit
from .json_values import dump, variations
from .mutations import NUMBERS, Mutation, mutate, mutations

FILES = [STORE, CLIPS, "shards/00000.npy", "shards/00001.npy"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("store")
    rng = np.random.default_rng(0)
    for number in range(5):
        wave = rng.uniform(-0.5, 0.5, 700 + 100 * number)
        (home / "sounds").mkdir(exist_ok=True)
        soundfile.write(home / "sounds" / f"{number}.wav", wave, 16000)
    pack([home / "sounds"], home / "store", shard_bytes=4000, workers=1, progress=False)
    shutil.rmtree(home / "sounds")
    return home / "store"


@cache
def original(folder: Path) -> dict[str, bytes]:
    """The files as they were packed, when this is first called."""
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    with memory_limit():
        yield


def check(folder: Path, files: dict[str, bytes], verify: bool = False) -> bool:
    for name, data in (original(folder) | files).items():
        (folder / name).write_bytes(data)
    with time_limit():
        is_store(folder)
        try:
            store = AudioStore.open(folder)
            assert len(store) == len(store.starts) == len(store.lengths) >= 1
            clips = StoreClips(pickle.loads(pickle.dumps(store)))
            for row in range(len(clips)):
                crop = clips.read(row, 2**63, 300)
                assert crop.dtype == np.int16 and crop.shape == (min(300, int(store.lengths[row])),)
                assert clips.name(row)
            if verify:
                assert all(isinstance(line, str) for pair in store.verify() for line in pair)
        except ByolaError as error:
            assert "\n" not in str(error)
            return False
    return True


@fuzz(100)
@given(name=st.sampled_from(FILES), changes=mutations([b"\x93NUMPY\x01\x00v\x00{'descr': '|O', "]))
def test_damaged_files(folder: Path, name: str, changes: list[Mutation]) -> None:
    damaged = mutate(original(folder)[name], changes)
    check(folder, {name: damaged}, verify=True)


@fuzz(100)
@given(data=st.data())
def test_another_description(folder: Path, data: st.DataObject) -> None:
    description = data.draw(variations(json.loads(original(folder)[STORE])))
    check(folder, {STORE: dump(description)})


@fuzz(100)
@given(data=st.data())
def test_other_places_of_clips(folder: Path, data: st.DataObject) -> None:
    table = pq.read_table(io.BytesIO(original(folder)[CLIPS]))
    for name in data.draw(
        st.lists(st.sampled_from([START, LENGTH, "checksum", "path"]), min_size=1, max_size=2, unique=True)
    ):
        values: list[Any] = table[name].to_pylist() if name in table.column_names else [None] * len(table)
        row = data.draw(st.integers(0, len(values) - 1))
        number = st.one_of(st.integers(-3, 3000), st.sampled_from(NUMBERS).filter(lambda n: n < 2**63))
        if name in (START, LENGTH):
            values[row] = data.draw(st.one_of(st.none(), number))
            kind = data.draw(st.sampled_from([pa.int64(), pa.int64(), pa.string()]))
            column = pa.array([value if value is None or kind != pa.string() else str(value) for value in values], kind)
        elif name == "path":
            values[row] = data.draw(st.sampled_from(["../x", "/etc/passwd", "a\0", "", "x.wav"]))
            column = pa.array(values, pa.large_string())
        else:
            values[row] = data.draw(st.binary(max_size=20))
            column = pa.array(values, pa.binary())
        if name in table.column_names:
            table = table.set_column(table.schema.get_field_index(name), name, column)
    stream = io.BytesIO()
    pq.write_table(table, stream)
    check(folder, {CLIPS: stream.getvalue()}, verify=True)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # NumPy, of an impossible length
@fuzz(100)
@given(
    descr=st.sampled_from(["<i2", ">i2", "|O", "<i8", "|S2", "<f4", "i", "<i2,<i2", "|V2"]),
    shape=st.one_of(
        st.integers(-2, 3000), st.sampled_from(NUMBERS), st.tuples(st.integers(-1, 60), st.integers(-1, 60))
    ),
    fortran=st.booleans(),
    rest=st.binary(max_size=20),
)
def test_shards_with_another_header(folder: Path, descr: str, shape: Any, fortran: bool, rest: bytes) -> None:
    header = repr({"descr": descr, "fortran_order": fortran, "shape": shape if isinstance(shape, tuple) else (shape,)})
    header += " " * (-(len(header) + 11) % 64) + "\n"
    shard = original(folder)["shards/00000.npy"]
    made_up = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + shard[128:] + rest
    check(folder, {"shards/00000.npy": made_up})


def test_undamaged_it_is_read(folder: Path) -> None:
    assert check(folder, {}, verify=True)
    assert AudioStore.open(folder).verify() == []
