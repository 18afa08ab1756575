"""The command `byol-a pack`, end to end."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from byol_a.cli import main
from byol_a.data.arrays import to_int16
from byol_a.data.io import read_audio
from byol_a.data.scan.scan import scan
from byol_a.data.store.audio_store import AudioStore

from ..training.small import command, environment

WriteWav = Callable[..., Path]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`run("pack", ...)` gives exit code, standard output and standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def audio(tmp_path: Path, write_wav: WriteWav) -> Path:
    for number in range(5):
        write_wav(tmp_path / "audio" / f"{number}.wav", 0.5 + 0.2 * number, seed=number)
    (tmp_path / "audio" / "empty.wav").write_bytes(b"")
    return tmp_path / "audio"


def test_the_real_data_are_packed_and_verified(
    real_data: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    files = [
        path for name in ("esc10", "fsdd", "nsynth-mini") for path in sorted((real_data / name).rglob("*.*"))[::40]
    ]
    index, out = tmp_path / "index.parquet", tmp_path / "store"
    scan([path for path in files if path.suffix in (".ogg", ".wav")], index, progress=False)
    code, printed, errors = run(
        "pack", index, "--out", out, "--shard-mb", 1, "--min-seconds", 0.3, "--dedupe", "--verify"
    )
    assert code == 0, errors
    store = AudioStore.open(out)
    assert f"{out}: {len(store)} clips, " in printed
    assert "left out by filters: " in printed and "shorter than 0.3 s" in printed
    assert f"{len(store.tape.bounds) - 1} shards and {len(store)} clips are as packed" in printed
    assert "packing " in errors and "checking " in errors
    rates = store.index.array("sample_rate")
    assert set(rates.tolist()) == {8000, 16000, 44100}
    for rate in (8000, 16000, 44100):
        for row in np.flatnonzero(rates == rate)[::4].tolist():
            samples = store.read(int(store.starts[row]), int(store.lengths[row]))
            expected = to_int16(read_audio(store.index.name(row))).astype(int)
            np.testing.assert_allclose(samples, expected, rtol=0, atol=0 if rate == 16000 else 1)

    code, printed, errors = run("pack", index, "--out", out, "--shard-mb", 1)
    assert code == 2
    assert "was made from another index, or with other filters; choose another --out" in errors


def test_folders_are_scanned_and_packed(audio: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    out = tmp_path / "store"
    code, printed, errors = run("pack", audio, "--out", out, "--rate", 8000, "--exclude", "3*", "--workers", 1)
    assert code == 0, errors
    assert f"{out}: 4 clips, 0.00 hours at 8000 Hz, " in printed
    assert "left out by filters: 1 excluded" in printed
    assert f"1 file could not be used: 1 empty; see {out / 'bad_files.csv'}" in errors
    assert "scanning" in errors

    code, printed, errors = run("pack", audio, "--out", out, "--rate", 8000, "--exclude", "3*")
    assert code == 0
    assert f"{out} is finished already; --overwrite packs it anew" in errors
    assert "4 clips" in printed
    code, printed, _ = run("pack", audio, "--out", out, "--overwrite")
    assert code == 0
    assert "5 clips" in printed and "16000 Hz" in printed


def test_verify_names_what_is_damaged(audio: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    out = tmp_path / "store"
    assert run("pack", audio, "--out", out, "--shard-mb", 0.05)[0] == 0
    assert run("pack", out, "--verify")[:2] == (0, f"{out}: 4 shards and 5 clips are as packed\n")
    assert run("pack", "--verify", "--out", out)[0] == 0
    data = bytearray((out / "shards" / "00002.npy").read_bytes())
    data[1000] ^= 16
    (out / "shards" / "00002.npy").write_bytes(data)
    for arguments in [("pack", out, "--verify"), ("pack", audio, "--out", out, "--shard-mb", 0.05, "--verify")]:
        code, printed, errors = run(*arguments)
        assert code == 1
        assert "shards/00002.npy: damaged: its checksum is another one" in printed
        assert f"{audio / '3.wav'}: damaged: its samples in the shard 00002.npy" in printed
        assert "2.wav" not in printed
        assert errors.splitlines()[-1].startswith(f"byol-a: error: the store {out} is damaged, as listed above; ")
    shutil.rmtree(out / "shards")
    code, printed, errors = run("pack", out, "--verify")
    assert code == 1
    assert printed.count("missing") == 4 + 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("audio",), "Missing option '--out'"),
        (("--out", "store"), "there is nothing to pack"),
        (("--verify",), "checks one store"),
        (("nowhere", "--out", "store"), "nowhere does not exist"),
        (("nowhere", "--verify"), "there is no store nowhere"),
        (("audio", "--verify"), "audio is not a packed store"),
        (("nowhere.parquet", "--out", "store"), "there is no index nowhere.parquet"),
        (("audio", "--out", "audio"), "audio exists already and is not a packed store"),
        (("audio", "--out", "audio", "--overwrite"), "nothing is packed there; choose another --out"),
        (("audio", "--out", "audio/0.wav"), "0.wav exists already and is not a packed store"),
        (("audio", "--out", ""), "the name of the store is empty"),
        (("audio", "--out", "", "--verify"), "the name of the store is empty"),
        (("audio", "--out", "store", "--root", "audio"), "--root says where the files of an index are"),
        (("audio", "--out", "store", "--min-seconds", "-1"), "min_seconds must be at least 0"),
        (("audio", "--out", "store", "--min-seconds", "100"), "no clip of the 6 in the index can be used"),
        (("audio", "--out", "store", "--rate", "0"), "a sample rate of 0 Hz is not possible"),
        (("audio", "--out", "store", "--shard-mb", "0"), "--shard-mb"),
        (("audio", "--out", "store", "--shard-mb", "nan"), "--shard-mb must be a number of megabytes"),
        (("audio", "--out", "store", "--shard-mb", "inf"), "--shard-mb"),
        (("audio", "--out", "store", "--workers", "0"), "--workers"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(
    arguments: tuple[str, ...],
    words: str,
    audio: Path,
    run: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(audio.parent)
    code, _, errors = run("pack", *arguments)
    assert code == 2
    assert words in errors
    assert len([line for line in errors.splitlines() if line.startswith("byol-a: error:")]) == 1
    assert "Traceback" not in errors


def test_names_are_printed_without_what_commands_a_terminal(
    tmp_path: Path, write_wav: WriteWav, run: Callable[..., tuple[int, str, str]]
) -> None:
    out = tmp_path / "store"
    write_wav(tmp_path / "audio" / "a\x1b[2J\nb.wav")
    assert run("pack", tmp_path / "audio", "--out", out)[0] == 0
    data = bytearray((out / "shards" / "00000.npy").read_bytes())
    data[1000] ^= 16
    (out / "shards" / "00000.npy").write_bytes(data)
    code, printed, _ = run("pack", out, "--verify")
    assert code == 1
    assert r"a\x1b[2J\nb.wav: damaged: its samples" in printed
    assert "\x1b" not in printed


def test_unreadable_files_and_moved_collections(
    audio: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    index, out = tmp_path / "index.parquet", tmp_path / "store"
    assert run("scan", audio, "--out", index)[0] == 0
    moved = audio.rename(tmp_path / "moved")
    code, _, errors = run("pack", index, "--out", out)
    assert code == 1 and "audio is not there or empty" in errors and "--root" in errors
    (moved / "1.wav").unlink()
    code, _, errors = run("pack", index, "--out", out, "--root", moved)
    assert code == 1
    assert f"1 file cannot be read now (first: {moved / '1.wav'}, unreadable: no such file" in errors
    code, printed, errors = run("pack", index, "--out", out, "--root", moved, "--skip-unreadable")
    assert code == 0
    assert "4 clips" in printed and "1 empty, 1 unreadable" in errors


def test_a_store_whose_name_is_not_text(audio: Path, tmp_path: Path) -> None:
    out = os.fsdecode(os.fsencode(tmp_path) + b"/n\xff/st")
    for arguments in (("pack", audio, "--out", out, "--workers", 1), ("pack", out, "--verify")):
        done = subprocess.run(command(*arguments), env=environment(), capture_output=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        assert b"/n\xff/st: " in done.stdout
