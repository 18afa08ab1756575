"""AudioSet's tables in their true layout and with the oddities of copies, and ids in the names of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from byol_a.data.audioset import clip_id, find, match, read_ids
from byol_a.errors import UsageError

HEADER = (
    "# Segments csv created Sun Mar  5 10:54:31 2017\n"
    "# num_ytids=22160, num_segs=22160, num_unique_labels=527, num_positive_labels=52882\n"
    "# YTID, start_seconds, end_seconds, positive_labels\n"
)
SEGMENTS = (
    '--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_,/m/0bt9lr,/m/0jbk"\n'
    '--BfvyPmVMo, 20.000, 30.000, "/m/03l9g"\n'
    'Yab_cdef-_Z, 420.000, 430.000, "/m/04rlf,/m/09x0r"\n'
)
IDS = st.text("ABYZabyz0189-_", min_size=11, max_size=11)
TIMES = st.sampled_from(["", "_30.000_40.000", "_30000_40000", "_30_40", "_30000", "_0.000_9.500"])


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("--4gqARaEJE.wav", "--4gqARaEJE"),
        ("Y--4gqARaEJE.wav", "--4gqARaEJE"),
        ("balanced/Y--4gqARaEJE_0.000_10.000.flac", "--4gqARaEJE"),
        ("--4gqARaEJE_0_10000.m4a", "--4gqARaEJE"),
        ("Yab_cdef-_Z.wav", "Yab_cdef-_Z"),
        ("YYab_cdef-_Z_420.000_430.000.wav", "Yab_cdef-_Z"),
        ("Yab_cdef-_Z_420.000_430.000.wav", "Yab_cdef-_Z"),
        ("shard-000.tar/Yab_cdef-_Z.flac", "Yab_cdef-_Z"),
        ("abcd_30_40_.wav", "abcd_30_40_"),
        ("ab_30_40_50.wav", "ab_30_40_50"),
        ("--4gqARaEJE", "--4gqARaEJE"),
        ("--4gqARaEJ.wav", None),
        ("X--4gqARaEJE.wav", None),
        ("--4gqARaEJE_.wav", None),
        ("--4gqARaEJE_1_2_3.wav", None),
        ("1-100032-A-0.wav", None),
        ("", None),
    ],
)
def test_ids_in_names(name: str, expected: str | None) -> None:
    assert clip_id(name) == expected


@given(IDS, st.booleans(), TIMES, st.sampled_from(["", "a/b.c/", "x.tar/"]), st.sampled_from([".wav", ".FLAC", ""]))
def test_a_name_made_from_an_id_gives_it_back(key: str, prefix: bool, times: str, folder: str, extension: str) -> None:
    name = f"{folder}{'Y' if prefix else ''}{key}{times}{extension}"
    assert clip_id(name) == key
    np.testing.assert_array_equal(find([name, "other.wav"], pa.array(["unrelated", key])), [1, -1])


@given(st.lists(st.text("Ya-_.0/", max_size=16), max_size=20))
def test_one_name_and_many_are_read_alike(names: list[str]) -> None:
    for name, place in zip(names, find(names, pa.array(["-----------"])), strict=True):
        assert (place == 0) == (clip_id(name) == "-----------")
    ids = sorted({key for name in names if (key := clip_id(name))})
    places = find(names, pa.array(ids, pa.string()))
    for name, place in zip(names, places, strict=True):
        assert (clip_id(name) is None and place < 0) or ids[place] == clip_id(name)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("cut", [0, 1])
def test_ids_of_segments(tmp_path: Path, line_end: str, encoding: str, cut: int) -> None:
    text = (HEADER + SEGMENTS).replace("\n", line_end)
    path = write(tmp_path / "segments.csv", text[: len(text) - cut * len(line_end)], encoding)
    assert read_ids(path).to_pylist() == ["--4gqARaEJE", "--BfvyPmVMo", "Yab_cdef-_Z"]


def test_ids_of_other_tables(tmp_path: Path) -> None:
    def ids(text: str) -> list[str]:
        found: list[str] = read_ids(write(tmp_path / "ids.csv", text)).to_pylist()
        return found

    assert ids('fname,labels,mids,split\n64760,"Guitar,Music","/m/1,/m/2",train\n16399,Music,/m/2,val\n') == [
        "64760",
        "16399",
    ]
    assert ids('File_Name\n"a, b.wav"\n c/d.wav \n\n\nc/d.wav\n') == ["a, b.wav", "c/d.wav"]
    assert ids("-first\n_second,x\n") == ["-first", "_second"]
    assert ids("id\nid\n") == ["id"]
    assert ids("é,1") == ["é"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "holds no ids; a CSV table with an id in the first column"),
        (b"id,label\n", "holds no ids"),
        (b"# only\n# a header\n", "holds no ids"),
        (b"# c\na,1\n\n,2\n", r"line 4 is ',2'; a CSV table with an id"),
        (b'a\nb"c\n', r"line 2 is 'b\"c'"),
        (b"a\n\xff\xfe\n", "is no UTF-8 text"),
    ],
)
def test_tables_without_ids(tmp_path: Path, text: bytes, complaint: str) -> None:
    path = tmp_path / "ids.csv"
    path.write_bytes(text)
    with pytest.raises(UsageError, match=complaint) as caught:
        read_ids(path)
    assert str(path) in str(caught.value)


def test_tables_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ids\.csv cannot be read \(no such file or directory\)"):
        read_ids(tmp_path / "ids.csv")
    with pytest.raises(UsageError, match="is a directory"):
        read_ids(tmp_path)


def test_a_clip_is_found_by_the_end_of_its_path() -> None:
    ids = pa.array(["a/1.wav", "2", "b/c/3", "Dr.Jo", "5.FLAC", "--4gqARaEJE"])
    expected = {
        "a/1.flac": 0,
        "x/a/1.wav": 0,
        "aa/1.wav": -1,
        "1.wav": -1,
        "2.wav": 1,
        "deep/down/2.ogg": 1,
        "22.wav": -1,
        "b/c/3.wav": 2,
        "x/b/c/3.wav": 2,
        "c/3.wav": -1,
        "Dr.Jo.wav": 3,
        "Dr.wav": -1,
        "5.wav": 4,
        "x.tar/Y--4gqARaEJE_0_10.flac": 5,
    }
    np.testing.assert_array_equal(find(list(expected), ids), list(expected.values()))
    for names in (pa.array(list(expected)), pa.chunked_array([list(expected)[:3], list(expected)[3:]])):
        np.testing.assert_array_equal(match(names, ids), np.array(list(expected.values())) >= 0)


def test_the_name_wins_over_the_id_within_it() -> None:
    name = "Y--4gqARaEJE_0_10.wav"
    assert find([name], pa.array(["--4gqARaEJE", "Y--4gqARaEJE_0_10"])).tolist() == [1]


def test_nothing_to_find() -> None:
    assert find([], pa.array(["a"])).tolist() == []
    assert find(["a.wav"], pa.array([], pa.string())).tolist() == [-1]
