"""Labels from tables of several layouts, and weights that balance them, against a plain reckoning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byol_a.data.labels import label_weights, read_labels
from byol_a.errors import UsageError

from .test_audioset import HEADER, SEGMENTS, write

EXPECTED = {
    "--4gqARaEJE": {"/m/068hy", "/m/07q6cd_", "/m/0bt9lr", "/m/0jbk"},
    "--BfvyPmVMo": {"/m/03l9g"},
    "Yab_cdef-_Z": {"/m/04rlf", "/m/09x0r"},
}


def read(*paths: Path) -> dict[str, set[str]]:
    labels = read_labels(paths)
    rows = {key: labels.of(row) for row, key in enumerate(labels.ids.to_pylist())}
    assert len(rows) == len(labels) and len(labels.ends) == len(labels) + 1
    assert set(labels.classes) == {label for row in rows.values() for label in row}
    assert all(len(set(row)) == len(row) for row in rows.values())
    return {key: set(row) for key, row in rows.items()}


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("cut", [0, 1])
def test_segments(tmp_path: Path, line_end: str, encoding: str, cut: int) -> None:
    text = (HEADER + SEGMENTS).replace("\n", line_end)
    path = write(tmp_path / "segments.csv", text[: len(text) - cut * len(line_end)], encoding)
    assert read(path) == EXPECTED


def test_oddities_of_segments(tmp_path: Path) -> None:
    lines = (
        "\n"
        "abcdefghijk, 0.000, 10.000, /m/1\n"  # not quoted
        'lmnopqrstuv, 0.000, 10.000, ""\n'
        '01234567890,1,11,"/m/1, /m/2,,/m/1"  \n'
        'abcdefghijk, 30.000, 40.000, "/m/3"\n\n'  # a second segment of the same clip
    )
    assert read(write(tmp_path / "a.csv", HEADER + lines)) == {
        "abcdefghijk": {"/m/1", "/m/3"},
        "lmnopqrstuv": set(),
        "01234567890": {"/m/1", "/m/2"},
    }


def test_several_tables_are_one(tmp_path: Path) -> None:
    first = write(tmp_path / "a.csv", HEADER + SEGMENTS)
    second = write(tmp_path / "b.csv", 'file_name,label\n--BfvyPmVMo.wav,extra\nc/d.wav,"x, y"\n--BfvyPmVMo,/m/1\n')
    expected = EXPECTED | {"--BfvyPmVMo.wav": {"extra"}, "c/d.wav": {"x", "y"}}
    expected["--BfvyPmVMo"] = {"/m/03l9g", "/m/1"}
    assert read(first, second, first) == expected


def test_fsd50k(tmp_path: Path) -> None:
    dev = 'fname,labels,mids,split\n64760,"Electric_guitar,Music","/m/02sgy,/m/04rlf",train\n16399,Music,/m/04rlf,val\n'
    assert read(write(tmp_path / "dev.csv", dev)) == {"64760": {"/m/02sgy", "/m/04rlf"}, "16399": {"/m/04rlf"}}
    bare = "labels,fname\nMusic,1\n,2\n"
    assert read(write(tmp_path / "bare.csv", bare, "utf-8-sig")) == {"1": {"Music"}, "2": set()}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (HEADER, "has no rows; AudioSet's segments"),
        ("file_name,label\n", "has no rows"),
        ("", "line 1 is ''; AudioSet's segments"),
        ("file,tag\na,b\n", "line 1 is 'file,tag'; AudioSet's segments .* or a CSV table with the columns"),
        ("index,mid,display_name\n0,/m/1,x\n", "line 1 is 'index,mid,display_name'"),
        (SEGMENTS, "line 1 is '--4gqARaEJE, 0.000"),
        (HEADER + "abcdefghijk, 0.000, 10.000\n", "line 4 is 'abcdefghijk, 0.000, 10.000'; AudioSet's segments"),
        (HEADER + SEGMENTS + '\nabc, 0.000, 10.000, "/m/1"\n', "line 8 is 'abc, 0.000"),
        (HEADER + "abcdefghijk, 0.000, 10.000, /m/1,/m/2\n", "line 4"),
        (HEADER + "abcdefghijk, zero, 10.000, /m/1\n", "line 4"),
        ("file_name,label\na.wav,x\n\nb.wav,x,y\n", "line 4 is 'b.wav,x,y'"),
        ('file_name,label\n"a\nb",x\nc\n', "line 4 is 'c'"),
        ('file_name,label\n"a,x\n', r"cannot be read as a CSV table \(unexpected end of data\)"),
        ("file_name,label\na.wav\n", "line 2 is 'a.wav'"),
    ],
)
def test_other_layouts_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = write(tmp_path / "table.csv", text)
    with pytest.raises(UsageError, match="(?i)" + complaint) as caught:
        read_labels([path])
    assert str(path) in str(caught.value)


def test_no_text_and_no_table(tmp_path: Path) -> None:
    for content in (b"# x\n\xff\n", b"file_name,label\n\xff,\xfe\n", bytes(range(256))):
        (tmp_path / "table.csv").write_bytes(content)
        with pytest.raises(UsageError, match=r"table\.csv"):
            read_labels([tmp_path / "table.csv"])
    with pytest.raises(UsageError, match=r"missing\.csv cannot be read \(no such file or directory\); AudioSet"):
        read_labels([tmp_path / "missing.csv"])
    with pytest.raises(UsageError, match="is a directory"):
        read_labels([tmp_path])
    with pytest.raises(UsageError, match="no labels to balance by"):
        read_labels([])


def test_weights_by_hand(tmp_path: Path) -> None:
    rows = 'file_name,label\n1.wav,"a,b"\n2.wav,a\n3.wav,b\n4.wav,c\n5.wav,\n6.wav,"a,a"\n'
    table = write(tmp_path / "table.csv", rows)
    names = ["x/1.flac", "x/2.flac", "x/3.flac", "x/5.flac", "x/none.flac"]  # 4 and 6 are not at hand
    a, b = 1000 / 2.01, 1000 / 2.01
    np.testing.assert_allclose(label_weights(names, [table]), [a + b, a, b, 0, 0], rtol=1e-12)
    np.testing.assert_allclose(label_weights([*names, "6.wav"], [table])[0], 1000 / 3.01 + b, rtol=1e-12)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sets(st.sampled_from("abcdefg"), max_size=4), min_size=1, max_size=25), st.data())
def test_weights_are_those_of_a_plain_reckoning(tmp_path: Path, labels: list[set[str]], data: st.DataObject) -> None:
    clips = data.draw(st.permutations(range(len(labels) + 3)))[: data.draw(st.integers(1, len(labels) + 3))]
    lines = [f'id{number:09d}, 0.000, 10.000, "{",".join(sorted(row))}"\n' for number, row in enumerate(labels)]
    table = write(tmp_path / "table.csv", HEADER + "".join(lines))
    of_clip = [labels[clip] if clip < len(labels) else set() for clip in clips]
    names = [f"part/Yid{clip:09d}_0.000_10.000.wav" for clip in clips]
    if not any(of_clip):
        with pytest.raises(UsageError, match=r"none of the .* first clip is part/Yid"):
            label_weights(names, [table])
        return
    count = {label: sum(label in row for row in of_clip) for label in "abcdefg"}
    expected = [sum(1000 / (count[label] + 0.01) for label in row) for row in of_clip]
    np.testing.assert_allclose(label_weights(names, [table]), expected, rtol=1e-12)


def test_names_that_no_table_knows(tmp_path: Path) -> None:
    table = write(tmp_path / "table.csv", HEADER + SEGMENTS)
    with pytest.raises(UsageError, match=r"none of the 1 clips has a label.* is a\.wav and the first id --4gqARaEJE"):
        label_weights(["a.wav"], [table])
    with pytest.raises(UsageError, match="none of the 0 clips"):
        label_weights([], [table])
