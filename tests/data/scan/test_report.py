"""What is said and drawn of an index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from byol_a.data.index import SCHEMA, AudioIndex
from byol_a.data.scan.report import plot_durations, summary


def make(*rows: dict[str, Any]) -> AudioIndex:
    """An index of these rows; a usable one need only say how it differs from a second of mono noise."""
    usable = {
        "format": "WAV",
        "subtype": "PCM_16",
        "sample_rate": 16000,
        "channels": 1,
        "frames": 16000,
        "duration": 1.0,
        "silence": 0.0,
    }
    names = [{"root": "/data", "path": f"{number}.wav"} for number in range(len(rows))]
    complete = [
        name | ({} if "error" in row else usable | {"digest": name["path"].encode()}) | row
        for name, row in zip(names, rows, strict=True)
    ]
    return AudioIndex(pa.Table.from_pylist(complete, schema=SCHEMA))


def section(lines: list[str], name: str) -> str:
    found = [line for line in lines if line.split()[:1] == [name]]
    assert len(found) <= 1
    return found[0].strip().removeprefix(name).strip() if found else ""


def test_counts_hours_and_durations() -> None:
    index = make(*({"duration": 3600.0 * hours} for hours in (1, 2, 3)), {"duration": 0.5}, {"error": "empty"})
    lines = summary(index)
    assert lines[0] == "5 files, 4 usable, 6.00 hours"
    assert section(lines, "durations") == "shortest 0.5 s, median 90 min, longest 3 h"
    assert summary(make({}))[0] == "1 file, 1 usable, 0.00 hours"
    assert summary(make(*[{"duration": 36e5}] * 2))[0] == "2 files, 2 usable, 2,000.0 hours"


def test_kinds_are_counted_the_most_frequent_first() -> None:
    index = make({}, {"format": "FLAC"}, {"format": "FLAC", "channels": 2, "sample_rate": 44100}, {"error": "empty"})
    lines = summary(index)
    assert section(lines, "formats") == "2 FLAC PCM_16, 1 WAV PCM_16"
    assert section(lines, "rates") == "2 16000 Hz, 1 44100 Hz"
    assert section(lines, "channels") == "2 of 1, 1 of 2"
    many = summary(make(*({"sample_rate": 8000 + number} for number in range(12))))
    assert section(many, "rates").endswith("1 8007 Hz, 4 others")


def test_silence_and_copies_are_said_only_where_there_are_some() -> None:
    lines = summary(make({}, {"error": "empty"}, {"error": "empty"}))
    assert section(lines, "silence") == section(lines, "copies") == ""
    lines = summary(make({"silence": 0.99}, {"silence": 0.995}, {"silence": 1.0}, *[{"digest": b"same"}] * 3))
    assert section(lines, "silence") == "2 files more than 99% digital silence"
    assert section(lines, "copies") == "2 files with exactly the same sound as another"


def test_rejections_are_counted_by_kind_with_an_example() -> None:
    errors = ["truncated: 1 of 2 samples", "empty", "truncated: 3 of 4 samples"]
    lines = summary(make({}, *({"error": error} for error in errors)))
    assert section(lines, "unusable") == "3 of 4 files could not be used:"
    assert [line.strip() for line in lines[-2:]] == [
        "2 truncated, as 1.wav (truncated: 1 of 2 samples)",
        "1 empty, as 2.wav (empty)",
    ]
    assert section(summary(make({})), "unusable") == ""


def test_a_name_cannot_break_the_lines() -> None:
    lines = summary(make({"path": "two\nlines\x1b[31m.wav", "error": "empty"}))
    assert lines[-1].strip() == r"1 empty, as two\nlines\x1b[31m.wav (empty)"


def test_an_index_without_a_usable_file_has_a_summary_and_a_picture(tmp_path: Path) -> None:
    assert summary(make({"error": "empty"}))[0] == "1 file, 0 usable, 0.00 hours"
    plot_durations(make({"error": "empty"}), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("durations", [[10.0], [10.0] * 5, [1e-4, 3600.0 * 30], np.geomspace(0.2, 600, 99)])
def test_the_picture_counts_every_file_and_all_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durations: list[float]
) -> None:
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *arguments: Any, **options: Any) -> None:
        drawn.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    index = make(*({"duration": float(duration)} for duration in durations), {"error": "empty"})
    plot_durations(index, tmp_path / "deep" / "index.png")
    assert (tmp_path / "deep" / "index.png").read_bytes().startswith(b"\x89PNG")
    files, hours = drawn[0].axes
    assert sum(bar.get_height() for bar in files.patches) == len(durations)
    assert sum(bar.get_height() for bar in hours.patches) == pytest.approx(sum(durations) / 3600)
    assert files.get_title().startswith(f"{len(durations)} usable file")
    assert len(hours.get_xticks()) >= 1
    assert (hours.get_ylabel(), hours.get_xlabel()) == ("hours", "duration of a file")
