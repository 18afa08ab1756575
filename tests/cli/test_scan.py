"""`byol-a scan` from the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from byol_a.cli import main


def scan(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["scan", *map(str, arguments)])
    return int(stopped.value.code or 0)


def test_real_sets_end_to_end(real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pandas = pytest.importorskip("pandas")
    import soundfile

    out = tmp_path / "real.parquet"
    by_name = sorted((real_data / "esc10" / "audio").glob("*.ogg"))[:40]
    assert scan(real_data / "nsynth-mini", *by_name, "--out", out) == 0
    said = capsys.readouterr()
    table = pandas.read_parquet(out)
    assert table["error"].isna().all()
    assert set(table["root"]) == {str(real_data / "esc10" / "audio"), str(real_data / "nsynth-mini")}
    assert set(table["sample_rate"]) == {44100, 16000}
    files = [*by_name, *(real_data / "nsynth-mini").rglob("*.wav")]
    assert sorted(map(str, files)) == sorted(table["root"].astype(str) + "/" + table["path"])
    for row in table.sample(25, random_state=0).itertuples():
        wave, rate = soundfile.read(f"{row.root}/{row.path}", always_2d=True)
        wave = wave.mean(axis=1)
        assert (row.sample_rate, row.frames, row.channels) == (rate, len(wave), 1)
        assert row.duration == len(wave) / rate
        np.testing.assert_allclose(
            [row.peak, row.rms, row.silence],
            [abs(wave).max(), np.sqrt(np.mean(wave**2)), np.mean(wave == 0)],
            rtol=1e-4,
        )
    hours = table["duration"].sum() / 3600
    assert said.out.startswith(f"{out}: {len(files)} files, {len(files)} usable, {hours:.2f} hours\n")
    assert "OGG VORBIS" in said.out
    assert f"{len(files)} new, 0 changed, 0 unchanged, 0 gone; {len(files)} read" in said.out
    assert f"scanning {len(files)}/{len(files)}" in said.err
    assert (tmp_path / "real.parquet.png").read_bytes().startswith(b"\x89PNG")

    before = pq.read_table(out)
    assert scan(*by_name, real_data / "nsynth-mini", "--out", out) == 0
    said = capsys.readouterr()
    assert f"0 new, 0 changed, {len(files)} unchanged, 0 gone; 0 read" in said.out
    assert pq.read_table(out).equals(before)


def test_bad_files_are_counted_and_named(
    tmp_path: Path, write_wav: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_wav(tmp_path / "clips" / "a.wav", seconds=0.1)
    (tmp_path / "clips" / "b.wav").touch()
    (tmp_path / "clips" / "c.m4a").touch()
    assert scan(tmp_path / "clips", "--out", tmp_path / "i.parquet", "--workers", 1) == 0
    said = capsys.readouterr().out
    assert "3 files, 1 usable" in said
    assert "2 of 3 files could not be used" in said
    assert "1 empty, as b.wav" in said
    assert "1 unsupported, as c.m4a" in said


def test_a_picture_is_no_reason_to_fail(
    tmp_path: Path, write_wav: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wav(tmp_path / "clips" / "a.wav", seconds=0.1)
    mine = tmp_path / "i.png"
    mine.write_text("my own picture")
    (tmp_path / "i.parquet.png").mkdir()
    assert scan(tmp_path / "clips", "--out", tmp_path / "i.parquet", "--workers", 1) == 0
    said = capsys.readouterr()
    assert "note: the picture " in said.err
    assert not any(line.split()[:1] == ["picture"] for line in said.out.splitlines())
    assert len(pq.read_table(tmp_path / "i.parquet")) == 1
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert scan(tmp_path / "clips", "--out", tmp_path / "j.parquet", "--workers", 1) == 0
    said = capsys.readouterr()
    assert said.err.startswith("note: the picture beside the index needs the package 'matplotlib'")
    assert mine.read_text() == "my own picture"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "clips",
        "i.parquet",
        "i.parquet.png",
        "i.png",
        "j.parquet",
    ]


def test_wrong_use_is_one_sentence(
    tmp_path: Path, write_wav: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_wav(tmp_path / "clips" / "a.wav", seconds=0.1)
    (tmp_path / "notes.parquet").write_text("notes")
    for arguments, sentence in (
        ([tmp_path / "gone", "--out", tmp_path / "i.parquet"], "does not exist"),
        ([tmp_path / "clips", "--out", tmp_path / "notes.parquet"], "is not an index made by a scan"),
        ([tmp_path / "clips", "--out", tmp_path], "is a folder"),
        ([tmp_path / "clips", "--out", tmp_path / "x.png"], "let --out end in .parquet"),
        ([tmp_path / "clips"], "Missing option '--out'"),
        ([tmp_path / "clips", "--out", tmp_path / "i.parquet", "--workers", 0], "'--workers'"),
    ):
        assert scan(*arguments) == 2
        said = capsys.readouterr().err
        assert said.startswith("byol-a: error: ")
        assert sentence in said
        assert said.count("\n") == 1
    assert (tmp_path / "notes.parquet").read_text() == "notes"
