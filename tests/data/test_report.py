"""The report of unusable files: counts, kinds, and the table it writes."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path

import pytest

from byol_a.data.report import FileReport
from byol_a.errors import ByolaError


def test_summary_counts_the_kinds_of_reasons() -> None:
    report = FileReport()
    report.add("b.wav", "empty")
    report.add("c.wav", "empty: no samples")
    report.add(Path("a.wav"), "not audio: format not recognised")
    assert len(report) == 3
    assert report.summary(120) == "3 of 120 files could not be used: 2 empty, 1 not audio"
    assert report.summary() == "3 files could not be used: 2 empty, 1 not audio"
    assert [path for path, _ in report.items()] == ["a.wav", "b.wav", "c.wav"]
    assert "a.wav" in report and "d.wav" not in report


def test_a_path_is_kept_once_with_its_first_reason() -> None:
    report = FileReport()
    report.extend([("a.wav", "empty"), ("a.wav", "unreadable: permission denied")])
    assert report.items() == [("a.wav", "empty")]
    assert report.summary(1) == "1 of 1 file could not be used: 1 empty"


def test_nothing_to_report() -> None:
    assert FileReport().summary(5) == "every file could be used"


def test_write_gives_a_table_that_reads_back(tmp_path: Path) -> None:
    report = FileReport()
    rows = [
        ('with "quotes", and commas.wav', "not audio: a,b"),
        ("not utf-8 \udcff.wav", "empty"),
        ("é.wav", "empty"),
    ]
    report.extend(rows)
    target = tmp_path / "deep" / "unusable.csv"
    report.write(target)
    with target.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        header, *lines = csv.reader(stream)
    assert header == ["path", "reason"]
    assert [tuple(line) for line in lines] == sorted(rows)
    assert [path.name for path in target.parent.iterdir()] == ["unusable.csv"]


def test_a_report_travels_between_processes() -> None:
    report = FileReport()
    report.add("a.wav", "empty")
    assert pickle.loads(pickle.dumps(report)).items() == report.items()


def test_what_was_written_is_read_back(tmp_path):
    report = FileReport()
    report.extend([("a, b.wav", "empty"), ("line\nend.wav", "not audio: x"), ("\udcff.wav", 'says "no"')])
    report.write(tmp_path / "bad.csv")
    assert FileReport.read(tmp_path / "bad.csv").items() == report.items()
    assert len(FileReport.read(tmp_path / "absent.csv")) == 0


@pytest.mark.parametrize(
    "text", ["", "path,reason\na.wav\n", "name,why\na,b\n", 'path,reason\n"' + "x" * 200_000, "\0"]
)
def test_another_table_is_no_report(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad_files.csv"
    path.write_text(text)
    try:
        assert len(FileReport.read(path)) <= 1
    except ByolaError as error:
        assert "is not a list of unusable files" in str(error)
    assert len(FileReport.read(tmp_path)) == 0  # a folder
