"""The packed store: what is read from it, how it is opened, and what damaged and hostile ones do."""

from __future__ import annotations

import json
import mmap
import multiprocessing
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from byol_a.data.arrays import to_int16
from byol_a.data.io import read_audio
from byol_a.data.store.audio_store import AudioStore, is_store
from byol_a.data.store.pack import pack
from byol_a.data.store.tape import ShardError, Tape
from byol_a.errors import ByolaError, UsageError

SHARD_BYTES = 40_000  # 1.25 s at 16 kHz


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of six clips; the fourth is longer than a shard."""
    import soundfile

    folder, rng = tmp_path_factory.mktemp("audio_store"), np.random.default_rng(0)
    (folder / "audio").mkdir()
    for number, seconds in enumerate([0.5, 0.4, 0.7, 3.0, 0.3, 0.9]):
        wave = rng.uniform(-0.5, 0.5, round(16000 * seconds))
        soundfile.write(folder / "audio" / f"{number}.wav", wave, 16000)
    pack([folder / "audio"], folder / "store", shard_bytes=SHARD_BYTES, workers=1, progress=False)
    return folder / "store"


@pytest.fixture
def store_folder(packed: Path, tmp_path: Path) -> Path:
    """A copy to do damage to."""
    return Path(shutil.copytree(packed, tmp_path / "store"))


def shard_files(folder: Path) -> list[Path]:
    return sorted((folder / "shards").iterdir())


def change_description(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    description = json.loads((folder / "store.json").read_text())
    change(description)
    (folder / "store.json").write_text(json.dumps(description))


def change_column(folder: Path, name: str, column: Any) -> None:
    table = pq.read_table(folder / "clips.parquet")
    place = table.schema.get_field_index(name)
    pq.write_table(table.set_column(place, name, column), folder / "clips.parquet")


def test_every_clip_is_where_the_table_says(packed: Path) -> None:
    store = AudioStore.open(packed)
    assert len(store) == 6
    assert store.sample_rate == 16000
    assert store.lengths.dtype == store.starts.dtype == np.int64
    for row in range(len(store)):
        samples = store.read(int(store.starts[row]), int(store.lengths[row]))
        np.testing.assert_array_equal(samples, to_int16(read_audio(store.index.name(row))))


def test_shards_are_standard_npy_files_of_bounded_size(packed: Path) -> None:
    store = AudioStore.open(packed)
    arrays = [np.load(path) for path in shard_files(packed)]
    assert all(array.dtype == np.int16 and array.ndim == 1 for array in arrays)
    assert all(path.stat().st_size <= SHARD_BYTES for path in shard_files(packed))
    tape = np.concatenate(arrays)
    assert len(tape) == len(store.tape) == store.lengths.sum()
    shards = [
        np.searchsorted(store.tape.bounds, [start, start + length - 1], side="right") for start, length in places(store)
    ]
    spans = [int(last - first) for first, last in shards]
    assert spans == [0, 0, 0, 2, 0, 0]  # only the clip that is longer than a shard runs over several


def places(store: AudioStore) -> list[tuple[int, int]]:
    return list(zip(store.starts.tolist(), store.lengths.tolist(), strict=True))


def test_reading_any_part_gives_that_part_of_the_tape(packed: Path) -> None:
    store = AudioStore.open(packed)
    tape = np.concatenate([np.load(path) for path in shard_files(packed)])
    rng = np.random.default_rng(0)
    starts = rng.integers(0, len(tape), 300)
    for start in [0, *store.tape.bounds[1:-1], *starts.tolist()]:
        length = int(rng.integers(0, len(tape) - start + 1))
        np.testing.assert_array_equal(store.read(start, length), tape[start : start + length])
    samples = store.read(10, 100)
    assert samples.dtype == np.int16 and type(samples) is np.ndarray
    assert not samples.flags.writeable and not store.read(0, len(tape)).flags.writeable
    for start, length in [(-1, 5), (0, len(tape) + 1), (len(tape), 1), (5, -1), (len(tape) + 1, 0), (2**63, 2**63)]:
        with pytest.raises(UsageError, match="not all on a tape"):
            store.read(start, length)


class NotingMap:
    """Stands for the mmap of a shard; notes what is advised, and refuses what the system would."""

    def __init__(self, real: Any) -> None:
        self._real, self.advised = real, []  # type: ignore[var-annotated]

    def madvise(self, option: int, start: int, length: int) -> None:
        assert start % mmap.PAGESIZE == 0
        assert 0 <= start < start + length <= len(self._real)
        self.advised.append((start, start + length))
        self._real.madvise(option, start, length)


class NotingArray(NamedTuple):
    """Stands for the memmap below the array of a shard."""

    base: NotingMap
    offset: int


class NotingSamples(NamedTuple):
    """Stands for that array."""

    base: NotingArray


def with_header(path: Path, size: int) -> None:
    """Give an .npy file a header of this many bytes."""
    samples = np.load(path)
    text = f"{{'descr': '<i2', 'fortran_order': False, 'shape': ({len(samples)},), }}".encode()
    header = b"\x93NUMPY\x01\x00" + (size - 10).to_bytes(2, "little") + text.ljust(size - 11) + b"\n"
    path.write_bytes(header + samples.tobytes())


@pytest.mark.parametrize("header_bytes", [80, 128, 192, 4032, 4096])
def test_what_will_be_read_is_announced_to_the_byte(header_bytes: int, store_folder: Path) -> None:
    for path in shard_files(store_folder)[::2]:
        with_header(path, header_bytes)
    store = AudioStore.open(store_folder)
    tape, n_shards = store.tape, len(store.tape.bounds) - 1
    maps: list[Any] = [tape.open_shard(shard) for shard in range(n_shards)]
    expected = [
        [path.stat().st_size, header_bytes if shard % 2 == 0 else 128]
        for shard, path in enumerate(shard_files(store_folder))
    ]
    rng, end = np.random.default_rng(0), len(tape)
    crops = [(start, int(rng.integers(1, 30_000))) for start in rng.integers(0, end, 100).tolist()]
    crops += [(bound - 1, 2) for bound in tape.bounds[1:-1]] + [(bound, 1) for bound in tape.bounds[:-1]]
    crops += [(0, end), (end - 1, 1), (end - 3000, 3000), (0, 1), (5, 0), (end, 0)]
    for start, length in crops:
        length = min(length, end - start)
        noting = [NotingMap(samples.base.base) for samples in maps]
        watched: list[Any] = [
            NotingSamples(NotingArray(map_, samples.base.offset)) for map_, samples in zip(noting, maps, strict=True)
        ]
        tape._maps = watched
        tape.will_read(start, length)
        for shard, (size, header) in enumerate(expected):
            begins, ends = tape.bounds[shard : shard + 2]
            first, last = (min(max(sample, begins), ends) - begins for sample in (start, start + length))
            mapped_from = size - len(maps[shard].base.base)  # bytes of the file before its map
            if first == last:
                assert noting[shard].advised == []
                continue
            ((begin, stop),) = noting[shard].advised
            assert 0 <= header - mapped_from + 2 * first - begin < mmap.PAGESIZE
            assert stop == header - mapped_from + 2 * last


def test_an_announcement_changes_nothing_and_is_refused_off_the_tape(store_folder: Path) -> None:
    tape = AudioStore.open(store_folder).tape
    expected = np.concatenate([np.load(path) for path in shard_files(store_folder)])
    for start, length in [(0, 92_800), (19_000, 2000), (92_799, 1)]:
        tape.will_read(start, length)
        np.testing.assert_array_equal(tape.read(start, length), expected[start : start + length])
    for start, length in [(-1, 5), (0, 92_801), (92_800, 1), (5, -1), (92_801, 0), (2**63, 2**63)]:
        with pytest.raises(UsageError, match="not all on a tape"):
            tape.will_read(start, length)
    shard_files(store_folder)[1].unlink()
    with pytest.raises(ShardError, match="missing"):
        pickle.loads(pickle.dumps(tape)).will_read(19_000, 2000)


def test_a_store_is_read_in_other_processes(packed: Path) -> None:
    store = AudioStore.open(packed)
    expected = store.read(30_000, 20_000)
    copy = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(copy.read(30_000, 20_000), expected)
    np.testing.assert_array_equal(copy.starts, store.starts)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply_async(store.read, (30_000, 20_000)).get(60), expected)


def test_more_shards_than_files_may_be_open(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = AudioStore.open(packed)
    expected = store.read(0, len(store.tape)).copy()
    monkeypatch.setattr("byol_a.data.store.tape._allowed_maps", lambda wanted: 2)
    tape = Tape(store.tape.folder, np.diff(store.tape.bounds).tolist())
    for start in np.random.default_rng(0).integers(0, len(tape) - 500, 200).tolist():
        np.testing.assert_array_equal(tape.read(start, 500), expected[start : start + 500])
    assert sum(samples is not None for samples in tape._maps) == 2


def test_the_limit_of_open_files_is_raised_as_far_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    from byol_a.data.store.tape import _allowed_maps

    limits = {"now": (1024, 4096)}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda kind, new: limits.update(now=new))
    assert (_allowed_maps(100), limits["now"]) == (100, (1024, 4096))
    assert (_allowed_maps(2500), limits["now"]) == (2500, (3012, 4096))
    assert (_allowed_maps(9000), limits["now"]) == (3584, (4096, 4096))
    limits["now"] = (100, 100)
    assert _allowed_maps(2500) == 50


def test_what_is_no_store_is_told_apart(packed: Path, tmp_path: Path) -> None:
    assert is_store(packed)
    assert not is_store(tmp_path) and not is_store(tmp_path / "nothing")
    with pytest.raises(UsageError, match="there is no store"):
        AudioStore.open(tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"is not a packed store: it has no store\.json"):
        AudioStore.open(tmp_path)
    (tmp_path / "store.json").write_text('{"name": "a shop"}')
    assert not is_store(tmp_path)
    with pytest.raises(ByolaError, match="not a packed store"):
        AudioStore.open(tmp_path)


def test_another_format_version_is_named(store_folder: Path) -> None:
    change_description(store_folder, lambda description: description.update(format_version=2))
    with pytest.raises(UsageError, match="format version 2; this byol-a reads version 1"):
        AudioStore.open(store_folder)


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-2]), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes() + bytes(5000)), "damaged"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: path.write_bytes(b"x" * path.stat().st_size), "damaged"),
        (lambda path: np.save(path, np.load(path).astype(np.float32)), "damaged: float32"),
        (lambda path: np.save(path, np.load(path).astype(">i2")), "damaged: >i2"),
        (lambda path: np.save(path, np.load(path)[None]), "damaged: int16 of shape"),
        (lambda path: np.save(path, np.load(path)[1:]), "damaged: int16 of shape"),
        (lambda path: np.save(path, np.array([os.system], dtype=object), allow_pickle=True), "damaged"),
        (lambda path: path.write_bytes(pickle.dumps(os.getcwd)), "damaged"),
        (lambda path: (np.savez(path, np.load(path)), path.with_suffix(".npy.npz").replace(path)), "damaged"),
        (replace_by_pipe, "not a file"),
        (lambda path: (path.unlink(), path.mkdir()), "not a file"),
    ],
)
def test_a_damaged_shard_is_found_when_the_store_is_opened(
    damage: Callable[[Path], object], words: str, store_folder: Path
) -> None:
    damage(shard_files(store_folder)[1])
    with pytest.raises(ShardError, match=f"00001.npy is .*{words}") as error:
        AudioStore.open(store_folder)
    assert error.value.exit_code == 1
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


def test_a_huge_header_maps_nothing(store_folder: Path) -> None:
    path = shard_files(store_folder)[0]
    with path.open("rb+") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<i2", "fortran_order": False, "shape": (1 << 60,)})
    with pytest.raises(ShardError, match="damaged"):
        AudioStore.open(store_folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda description: description.pop("shards"),
        lambda description: description.update(shards=[]),
        lambda description: description.update(shards={"samples": 1}),
        lambda description: description.update(shards=["../../etc/passwd"]),
        lambda description: description["shards"][0].update(samples=-1),
        lambda description: description["shards"][0].update(samples=1 << 70),
        lambda description: description["shards"][0].update(samples=2.5),
        lambda description: description["shards"][0].update(samples=True),
        lambda description: description["shards"][0].update(checksum=None),
        lambda description: description.update(shards=description["shards"] * 2),
        lambda description: description.update(sample_rate="16000"),
        lambda description: description.update(sample_rate=0),
        lambda description: description.update(clips=None),
        lambda description: description["clips"].update(rows=7),
        lambda description: description.pop("counts"),
        lambda description: description["counts"].update(bytes=None),
        lambda description: description.update(format="another"),
    ],
)
def test_a_hostile_description_is_one_sentence(change: Callable[[dict[str, Any]], object], store_folder: Path) -> None:
    change_description(store_folder, change)
    with pytest.raises(ByolaError) as error:
        AudioStore.open(store_folder)
    assert str(store_folder) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null", b"[1]", b'{"format": NaN}'])
def test_a_description_that_is_no_json_is_one_sentence(text: bytes, store_folder: Path) -> None:
    (store_folder / "store.json").write_bytes(text)
    with pytest.raises(ByolaError, match="not a packed store, or it is damaged"):
        AudioStore.open(store_folder)


INT64 = np.iinfo(np.int64)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("start", [-1]),
        ("start", [INT64.max]),
        ("start", [INT64.min]),
        ("start", [100_000]),
        ("start", [None]),
        ("length", [0]),
        ("length", [-5]),
        ("length", [INT64.max]),
        ("length", [INT64.min]),
        ("length", [92_800 + 1]),
        ("length", [None]),
    ],
)
def test_a_clip_outside_of_the_tape_is_refused(name: str, values: list[int | None], store_folder: Path) -> None:
    column = pq.read_table(store_folder / "clips.parquet")[name].to_pylist()
    change_column(store_folder, name, pa.array(values + column[1:], pa.int64()))
    with pytest.raises(ByolaError, match=r"places .*0\.wav outside of the 92800 samples"):
        AudioStore.open(store_folder)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("start", pa.array(np.zeros(6))),
        ("length", pa.array(["1"] * 6)),
        ("path", pa.array(["/etc/passwd"] + ["a.wav"] * 5)),
        ("path", pa.array(["a/../../b.wav"] + ["a.wav"] * 5)),
    ],
)
def test_hostile_columns_are_refused(name: str, column: pa.Array, store_folder: Path) -> None:
    change_column(store_folder, name, column)
    with pytest.raises(ByolaError, match="is damaged"):
        AudioStore.open(store_folder)


@pytest.mark.parametrize("text", [None, b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"\0" * 1000])
def test_a_table_that_is_none_is_refused(text: bytes | None, store_folder: Path) -> None:
    (store_folder / "clips.parquet").unlink()
    if text is not None:
        (store_folder / "clips.parquet").write_bytes(text)
    with pytest.raises(ByolaError, match="is damaged"):
        AudioStore.open(store_folder)


def test_a_store_as_packed_verifies(packed: Path) -> None:
    assert AudioStore.open(packed).verify() == []


def flip_bit(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_a_flipped_bit_is_found_and_the_clip_named(store_folder: Path) -> None:
    store = AudioStore.open(store_folder)
    for row in (2, 3):
        position = int(store.starts[row] + store.lengths[row] // 2)
        shard = int(np.searchsorted(store.tape.bounds, position, side="right")) - 1
        path = shard_files(store_folder)[shard]
        offset = 128 + 2 * (position - store.tape.bounds[shard])
        flip_bit(path, offset)
        (shard_name, shard_reason), (clip_name, clip_reason) = AudioStore.open(store_folder).verify()
        assert (shard_name, shard_reason) == (f"shards/{path.name}", "damaged: its checksum is another one")
        assert clip_name == store.index.name(row)
        assert path.name in clip_reason
        flip_bit(path, offset)
    assert AudioStore.open(store_folder).verify() == []


def test_a_missing_shard_damages_all_its_clips(store_folder: Path) -> None:
    store = AudioStore.open(store_folder)
    shard_files(store_folder)[0].unlink()
    damage = AudioStore.open(store_folder, look_at_shards=False).verify()
    inside = [store.index.name(row) for row in range(6) if store.starts[row] < store.tape.bounds[1]]
    assert damage[0] == ("shards/00000.npy", "missing")
    assert [name for name, _ in damage[1:]] == inside


def test_a_changed_table_is_found(store_folder: Path) -> None:
    table = pq.read_table(store_folder / "clips.parquet")
    pq.write_table(table, store_folder / "clips.parquet", compression="none")
    assert AudioStore.open(store_folder).verify() == [("clips.parquet", "damaged: its checksum is another one")]


def test_columns_can_be_left_unread(packed: Path) -> None:
    store = AudioStore.open(packed, columns=["duration"])
    assert set(store.index.table.column_names) == {"root", "path", "raw_path", "duration", "start", "length"}
    assert store.verify() == []
