"""A disk that is full or may not be written to while embedding: what was embedded stays, and the run goes on."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from byol_a import BYOLA, ByolaError, FrontendConfig, NormStats, store_writer
from byol_a.embed import embed
from tests.training.small import byol_a

FILES = 24


@pytest.fixture(scope="module")
def model() -> BYOLA:
    return BYOLA("AudioNTT2022", {"hidden_dim": 8}, FrontendConfig(n_mels=16), NormStats(-7.0, 4.0)).eval()


@pytest.fixture
def audio(tmp_path: Path, write_wav: Callable[..., Path]) -> Path:
    for number in range(FILES):
        write_wav(tmp_path / "audio" / f"{number:02d}.wav", 1.0 + number / 20, seed=number)
    return tmp_path / "audio"


def fill(folder: Path, leave: int) -> Path:
    """A file that takes all the room of a disk but `leave` bytes."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    os.truncate(filler, filler.stat().st_size - leave)
    return filler


def saved(store: Path) -> int:
    """Files in the parts of a store that is not finished."""
    return sum(len(set(store_writer.pq.read_table(part)["file"].to_pylist())) for part in store.glob("parts/*.parquet"))


@pytest.mark.parametrize("part_seconds", [0.0, 1000.0])
@pytest.mark.parametrize("leave", [10_000, 300_000, 1_000_000, 2_000_000])
def test_a_full_disk_keeps_what_was_embedded(
    model: BYOLA, audio: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, leave: int, part_seconds: float
) -> None:
    """24 files take 1 MB and their joining as much again: the disk is full at once, in between, or at the end."""
    monkeypatch.setattr(store_writer, "PART_SECONDS", part_seconds)
    out, filler = small_disk / "store", fill(small_disk, leave)
    whole = embed(model, [audio], audio.parent / "whole", level="frame", progress=False)
    finished = False
    try:
        embed(model, [audio], out, level="frame", progress=False)
        finished = True
    except ByolaError as error:
        message, stays = str(error), saved(out)
        assert f"the store {out} cannot be written to (No space left on device)" in message
        assert (f"; {stays} files are in it, and stay; " in message) == (stays > 0)
        assert message.endswith("run the same byol-a embed again")
        assert stays > 5 or leave < 500_000
    assert not finished or leave == 2_000_000
    filler.unlink()

    embedded: list[str] = []
    add = store_writer.StoreWriter.add
    monkeypatch.setattr(
        store_writer.StoreWriter, "add", lambda self, file, *rest: embedded.append(file) or add(self, file, *rest)
    )
    before = FILES if finished else saved(out)
    found = embed(model, [audio], out, level="frame", progress=False)
    assert len(embedded) == FILES - before
    assert found.rows.to_pylist() == whole.rows.to_pylist()
    np.testing.assert_allclose(found.embeddings, whole.embeddings, atol=1e-5)
    assert not [path for path in out.iterdir() if path.name.endswith(".partial")]


def test_the_command_says_it_in_one_line(model: BYOLA, audio: Path, small_disk: Path, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "model")
    filler = fill(small_disk, 200_000)
    arguments = ("embed", tmp_path / "model", audio, "--out", small_disk / "store", "--level", "frame")
    full = byol_a(*arguments)
    assert full.returncode == 1
    assert "Traceback" not in full.stderr
    (said,) = (line for line in full.stderr.splitlines() if "error" in line)
    assert "No space left on device" in said and "make room" in said
    filler.unlink()
    done = byol_a(*arguments)
    assert done.returncode == 0, done.stderr
    assert f"embeddings of {FILES} files" in done.stdout


def test_an_output_that_becomes_read_only(
    model: BYOLA, audio: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_writer, "PART_SECONDS", 0.0)
    out = small_disk / "store"
    add = store_writer.StoreWriter.add

    def mount(*arguments: object) -> None:
        subprocess.run(["mount", *map(str, arguments)], check=True, timeout=60)

    def add_eight(self: store_writer.StoreWriter, *rest: object) -> None:
        add(self, *rest)  # type: ignore[arg-type]
        if len(self.done) == 8:
            mount("--bind", out, out)
            mount("-o", "remount,bind,ro", out)

    with monkeypatch.context() as patch:
        patch.setattr(store_writer.StoreWriter, "add", add_eight)
        try:
            with pytest.raises(ByolaError, match=r"cannot be written to \(Read-only file system\); 8 files are in it"):
                embed(model, [audio], out, progress=False)
        finally:
            subprocess.run(["umount", out], check=True, timeout=60)
    assert saved(out) == 8
    mount("-o", "remount,ro", small_disk)
    for where in (out, small_disk / "other"):
        with pytest.raises(ByolaError, match=r"cannot be written to \(Read-only file system\); make room or make it"):
            embed(model, [audio], where, progress=False)
    mount("-o", "remount,rw", small_disk)
    assert saved(out) == 8
    found = embed(model, [audio], out, progress=False)
    assert len(found) == FILES
    assert set(found.rows["file"].to_pylist()) == {str(path) for path in audio.iterdir()}


def test_a_folder_that_may_not_be_written_to(model: BYOLA, write_wav: Callable[..., Path]) -> None:
    superuser = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as home:
        sound = write_wav(Path(home) / "sound.wav", 0.5)
        locked = Path(home) / "locked"
        locked.mkdir()
        for folder in (locked, Path(home)):  # which lets others pass, as pytest's folders do not
            folder.chmod(0o555)
        if superuser:
            os.seteuid(65534)  # permissions do not bind the superuser
        try:
            with pytest.raises(ByolaError, match=r"cannot be written to \(Permission denied\); make room or make it"):
                embed(model, [sound], locked / "store", progress=False)
        finally:
            if superuser:
                os.seteuid(0)
        assert list(locked.iterdir()) == []
        Path(home).chmod(0o755)


def test_a_folder_that_may_not_be_listed() -> None:
    superuser = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as home:
        locked = Path(home) / "locked"
        locked.mkdir()
        Path(home).chmod(0o755)  # lets others pass, as pytest's folders do not
        locked.chmod(0o333)
        if superuser:
            os.seteuid(65534)  # permissions do not bind the superuser
        try:
            for overwrite in (False, True):
                with pytest.raises(
                    ByolaError, match=r"store .*locked cannot be written to \(Permission denied\); make"
                ):
                    store_writer.refuse_foreign(locked, overwrite)
        finally:
            if superuser:
                os.seteuid(0)
