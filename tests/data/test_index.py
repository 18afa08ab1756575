"""The index: names of any spelling, columns of others, and nothing that leads out of its root."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from byol_a.data.index import AudioIndex
from byol_a.errors import ByolaError, UsageError

ODD = ["plain.wav", "line\nend.wav", "sep\u2028arator.wav", "\udcff not utf-8.wav", "ä\x85.wav", "a\\b.wav", "..wav"]


def table(paths: list[str], root: str = "/data", **columns: object) -> pa.Table:
    return pa.table({"root": [root] * len(paths), "path": paths, **columns})


def test_names_of_files_come_back_as_they_are(tmp_path: Path) -> None:
    files = [f"/a/b/{name}" for name in ODD] + ["/a/c/last.wav"]
    index = AudioIndex.from_files(files)
    assert index.names() == files
    assert index.roots == ["/a"]
    index.write(tmp_path / "index.parquet")
    again = AudioIndex.read(tmp_path / "index.parquet")
    assert again.names() == files
    assert again.fingerprint() == index.fingerprint()
    assert not again.has_measurements


def test_a_root_that_is_no_text_goes_into_the_paths() -> None:
    index = AudioIndex.from_files(["/a/\udcff/1.wav", "/a/\udcff/2.wav"])
    assert index.roots == ["/a"] and index.names() == ["/a/\udcff/1.wav", "/a/\udcff/2.wav"]


def test_relative_files_and_files_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "above.wav").touch()
    monkeypatch.chdir(tmp_path / "here")
    names = AudioIndex.from_files(["x.wav", "../above.wav", "sub/y.wav"]).names()
    assert names[0] == str(tmp_path / "here" / "x.wav")
    assert os.path.samefile(names[1], tmp_path / "above.wav")  # noqa: PTH121


def test_sizes_are_those_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"12345")
    index = AudioIndex.from_files([tmp_path / "a.wav", tmp_path / "gone.wav"])
    assert index.array("size").tolist() == [5, -1]


def test_rows_are_taken_by_mask_and_number() -> None:
    index = AudioIndex.from_files([f"/a/{n}.wav" for n in range(10)] + ["/a/\udcff.wav"])
    rows = np.array([10, 3, 3, 0])
    assert index.take(rows).names() == [index.name(row) for row in rows]
    mask = np.arange(11) % 2 == 0
    assert index.take(mask).names() == index.names()[::2]
    assert len(index.take(np.zeros(11, bool))) == 0
    assert index.take(mask).take(np.array([5])).names() == ["/a/\udcff.wav"]


def test_the_fingerprint_is_of_paths_sizes_and_order() -> None:
    one = AudioIndex(table(["a", "b"], size=[1, 2]))
    assert one.fingerprint() == AudioIndex(table(["a", "b"], root="/elsewhere", size=[1, 2])).fingerprint()
    others = [
        table(["b", "a"], size=[2, 1]),
        table(["ab", "c"], size=[1, 2]),
        table(["a", "b"], size=[1, 3]),
        table(["a"], size=[1]),
    ]
    assert len({one.fingerprint(), *(AudioIndex(other).fingerprint() for other in others)}) == 5
    # The same rows out of a larger table.
    assert AudioIndex(table(["x", "a", "b"], size=[0, 1, 2])).take(np.array([1, 2])).fingerprint() == one.fingerprint()


def test_tables_of_others_are_read(tmp_path: Path) -> None:
    """Plain strings, other integer types, chunks, further columns, no metadata."""
    chunks = [table([f"{n}.wav"], root=f"/r{n % 2}", frames=pa.array([n + 1], pa.uint32()), mine=[n]) for n in range(5)]
    pq.write_table(pa.concat_tables(chunks), tmp_path / "own.parquet", row_group_size=2)
    index = AudioIndex.read(tmp_path / "own.parquet")
    assert index.names() == [f"/r{n % 2}/{n}.wav" for n in range(5)]
    assert index.array("frames").tolist() == [1, 2, 3, 4, 5]
    assert index.table["mine"].to_pylist() == list(range(5))
    assert index.array("size").tolist() == [-1] * 5
    assert np.isnan(index.array("duration")).all()
    assert AudioIndex.read(tmp_path / "own.parquet", ["frames"]).table.column_names == ["root", "path", "frames"]


def test_another_root(tmp_path: Path) -> None:
    index = AudioIndex(table(["a/1.wav"])).at_root(tmp_path)
    assert index.names() == [str(tmp_path / "a" / "1.wav")]
    two = AudioIndex(pa.table({"root": ["/a", "/b"], "path": ["1", "2"]}))
    with pytest.raises(UsageError, match="2 roots"):
        two.at_root(tmp_path)
    with pytest.raises(UsageError, match="holds text"):
        index.at_root("/\udcff")


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../up.wav", "a/../../b", "a/..", "..", "", "null\0byte", "a/..\udcff/../../x"]
)
def test_no_path_leads_out_of_its_root(path: str) -> None:
    raw = os.fsencode(path)
    with pytest.raises(ByolaError, match="leads out of its root"):
        AudioIndex(table(["fine", raw.decode("utf-8", "backslashreplace")], raw_path=[None, raw]))


def test_the_bytes_of_a_name_are_checked_too() -> None:
    with pytest.raises(ByolaError, match="leads out"):
        AudioIndex(table(["harmless"], raw_path=[b"../\xff"]))


@pytest.mark.parametrize("root", ["relative", "", "/null\0byte"])
def test_a_root_is_an_absolute_folder(root: str) -> None:
    with pytest.raises(ByolaError, match="not an absolute folder"):
        AudioIndex(table(["a"], root=root))


@pytest.mark.parametrize(
    "column", [{"frames": [-3]}, {"frames": [0]}, {"offset": [-1]}, {"sample_rate": [0]}, {"size": [-(2**60)]}]
)
def test_impossible_numbers_are_refused(column: dict[str, list[int]]) -> None:
    with pytest.raises(ByolaError, match="impossible"):
        AudioIndex(table(["a"], **column))


def test_wrong_types_and_missing_values_are_refused() -> None:
    with pytest.raises(ByolaError, match="'frames'"):
        AudioIndex(table(["a"], frames=["many"]))
    with pytest.raises(ByolaError, match="without a path"):
        AudioIndex(pa.table({"root": ["/a", "/a"], "path": ["x", None]}))


def test_what_is_no_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no index"):
        AudioIndex.read(tmp_path / "none.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(UsageError, match="not an index"):
        AudioIndex.read(tmp_path / "other.parquet")
    newer = table(["a"]).replace_schema_metadata({"format_version": "9"})
    pq.write_table(newer, tmp_path / "newer.parquet")
    with pytest.raises(UsageError, match="format 9"):
        AudioIndex.read(tmp_path / "newer.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(ByolaError, match="cannot be read"):
        AudioIndex.read(tmp_path / "text.parquet")
    AudioIndex(table([f"{n}" for n in range(1000)])).write(tmp_path / "cut.parquet")
    data = (tmp_path / "cut.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(data[: len(data) // 2])
    with pytest.raises(ByolaError, match="cannot be read"):
        AudioIndex.read(tmp_path / "cut.parquet")


def test_rows_with_an_error_are_problems() -> None:
    index = AudioIndex(table(["a", "b"], error=[None, "empty"]))
    assert index.problems() == [("/data/b", "empty")]


def test_an_archive_and_its_member() -> None:
    index = AudioIndex(table(["s/00.tar/x/1.wav", "plain.wav"], offset=[512, None], size=[9, 9]))
    assert index.archive(0) == ("/data/s/00.tar", "x/1.wav")
    with pytest.raises(ByolaError, match="names none"):
        index.archive(1)
