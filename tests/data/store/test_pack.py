"""Packing: exact samples, places, filters, and all that can go wrong on the way: kills, full disks, changed files."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from byol_a.data.arrays import resampled_length, to_int16
from byol_a.data.index import AudioIndex
from byol_a.data.io import read_audio
from byol_a.data.scan.scan import scan
from byol_a.data.selection import FilterConfig
from byol_a.data.store import shards as worker
from byol_a.data.store.audio_store import AudioStore, is_store
from byol_a.data.store.pack import PackResult, pack
from byol_a.data.store.plan import HEADER_BYTES, make_plan
from byol_a.errors import ByolaError, UsageError
from byol_a.lock import WriterLock

from ...training.small import command, environment

WriteWav = Callable[..., Path]
SHARD_BYTES = 60_000


def scanned(folder: Path) -> Path:
    """The index of a folder, beside it."""
    index = folder.with_suffix(".parquet")
    scan([folder], index, workers=1, progress=False)
    return index


def packed(index: Path, out: Path, shard_bytes: int = SHARD_BYTES, workers: int = 2, **options: object) -> PackResult:
    return pack([index], out, shard_bytes=shard_bytes, workers=workers, progress=False, **options)  # type: ignore[arg-type]


def clip(store: AudioStore, row: int) -> np.ndarray:
    return store.read(int(store.starts[row]), int(store.lengths[row]))


def contents(folder: Path) -> dict[str, bytes]:
    """All that a store consists of, byte for byte."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def bad_files(folder: Path) -> dict[str, str]:
    with (folder / "bad_files.csv").open(newline="") as stream:
        return {Path(row["path"]).name: row["reason"] for row in csv.DictReader(stream)}


@pytest.fixture
def audio(tmp_path: Path, write_wav: WriteWav) -> Path:
    for number, rate in enumerate([16000, 8000, 44100, 16000, 22050, 16000, 48000, 16000]):
        write_wav(tmp_path / "audio" / f"{number}.wav", 0.4 + 0.3 * number, rate, seed=number)
    return tmp_path / "audio"


def test_samples_are_those_of_read_audio(audio: Path, tmp_path: Path) -> None:
    result = packed(scanned(audio), tmp_path / "store")
    store = result.store
    assert result.is_new and not result.report and not result.dropped
    assert [Path(name).name for name in store.index.names()] == [f"{number}.wav" for number in range(8)]
    for row, name in enumerate(store.index.names()):
        expected = to_int16(read_audio(name)).astype(int)
        at_own_rate = store.index.column("sample_rate")[row].as_py() == 16000
        np.testing.assert_allclose(clip(store, row), expected, rtol=0, atol=0 if at_own_rate else 1)
    assert all(path.stat().st_size <= SHARD_BYTES for path in (store.folder / "shards").iterdir())
    assert store.verify() == []
    assert sorted(path.name for path in store.folder.iterdir()) == [
        ".lock",
        "bad_files.csv",
        "clips.parquet",
        "shards",
        "store.json",
    ]
    assert result.hours == pytest.approx(store.lengths.sum() / 16000 / 3600)


def test_the_rate_is_the_one_asked_for(audio: Path, tmp_path: Path) -> None:
    store = packed(scanned(audio), tmp_path / "store", sample_rate=8000).store
    assert store.sample_rate == 8000
    expected = to_int16(read_audio(audio / "6.wav", 8000)).astype(int)
    np.testing.assert_allclose(clip(store, 6), expected, rtol=0, atol=1)


def test_a_clip_of_many_blocks_over_many_shards(
    tmp_path: Path, write_wav: WriteWav, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_BLOCK_SECONDS", 0.37)
    for number, (seconds, rate) in enumerate([(0.5, 16000), (9.0, 44100), (0.2, 16000), (7.0, 16000)]):
        write_wav(tmp_path / "audio" / f"{number}.wav", seconds, rate, seed=number)
    store = packed(scanned(tmp_path / "audio"), tmp_path / "store").store
    assert len(store.tape.bounds) > 10
    for row, name in enumerate(store.index.names()):
        np.testing.assert_allclose(clip(store, row), to_int16(read_audio(name)).astype(int), rtol=0, atol=1)


def index_of(frames: list[int], rates: list[int]) -> AudioIndex:
    n = len(frames)
    return AudioIndex(
        pa.table(
            {
                "root": pa.array(["/data"] * n).dictionary_encode(),
                "path": pa.array([f"{number}.wav" for number in range(n)], pa.large_string()),
                "sample_rate": pa.array(rates, pa.int32()),
                "frames": pa.array(frames, pa.int64()),
            }
        )
    )


def test_a_plan_leaves_no_gaps_and_cuts_only_what_is_longer_than_a_shard() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = int(rng.integers(1, 80))
        frames = np.where(rng.random(n) < 0.1, rng.integers(1, 9000, n), rng.integers(1, 700, n))
        rates = rng.choice([8000, 16000, 44100], n)
        shard_samples = int(rng.integers(300, 1000))
        plan, inaudible = make_plan(index_of(frames.tolist(), rates.tolist()), 16000, HEADER_BYTES + 2 * shard_samples)
        expected = [resampled_length(int(f), int(r), 16000) for f, r in zip(frames, rates, strict=True)]
        assert plan.lengths.tolist() == [length for length in expected if length]
        assert len(inaudible) == expected.count(0)
        assert plan.starts.tolist() == [0, *np.cumsum(plan.lengths)[:-1].tolist()]
        sizes = np.diff(plan.bounds)
        assert sizes.min() >= 1 and sizes.max() <= shard_samples
        assert plan.bounds[-1] == plan.lengths.sum()
        inside = [bound for bound in plan.bounds if bound not in {0, *plan.starts.tolist(), plan.bounds[-1]}]
        for bound in inside:
            row = int(np.searchsorted(plan.starts, bound, side="right")) - 1
            assert plan.lengths[row] > shard_samples
        # A new shard is begun only for what does not fit any more, so that any two groups hold more than one shard.
        filled = [group.bounds[-1] - group.bounds[0] for group in plan.groups]
        assert all(one + other > shard_samples for one, other in itertools.pairwise(filled))
        assert [row for group in plan.groups for row in group.rows] == list(range(len(plan.index)))
        for group, following in itertools.pairwise(plan.groups):
            assert following.first_shard == group.first_shard + len(group.bounds) - 1
            assert following.bounds[0] == group.bounds[-1] == plan.starts[following.rows.start]


@pytest.mark.parametrize(
    ("frames", "rates", "words"),
    [
        ([1 << 62], [8000], "none of the 1 clips can be packed; of /data/0.wav: unsupported: 46116.* samples at 8000"),
        ([100], [2**31 - 1], "unsupported: 100 samples at 2147483647 Hz"),
        ([1 << 38] * 5, [1], "longer than any disk"),
        ([1 << 38], [16000], "let them be larger"),
        ([1], [48000], "none of the 1 clips can be packed; of .*: empty: not one sample at 16000 Hz"),
    ],
)
def test_an_index_of_impossible_lengths_is_one_sentence(frames: list[int], rates: list[int], words: str) -> None:
    with pytest.raises(ByolaError, match=words):
        make_plan(index_of(frames, rates * len(frames)), 1 << 20 if rates == [1] else 16000, 10_000)


def test_settings_that_are_not_possible_are_refused() -> None:
    index = index_of([100], [16000])
    for rate, shard_bytes in [(0, 1000), (10_000_001, 1000), (16000, 129), (16000, -5)]:
        with pytest.raises(UsageError, match=r"not possible|no room"):
            make_plan(index, rate, shard_bytes)
    with pytest.raises(UsageError, match="byol-a scan"):
        make_plan(AudioIndex(index.table.drop_columns(["frames"])), 16000, 1000)


def test_filters_and_duplicates(audio: Path, tmp_path: Path) -> None:
    shutil.copy(audio / "7.wav", audio / "8.wav")
    filters = FilterConfig(min_seconds=0.6, exclude=["3*"], dedupe=True)
    result = packed(scanned(audio), tmp_path / "store", filters=filters)
    assert [Path(name).stem for name in result.store.index.names()] == ["1", "2", "4", "5", "6", "7"]
    assert sum(result.dropped.values()) == 3
    again = packed(scanned(audio), tmp_path / "store", filters=filters)
    assert not again.is_new and again.dropped == result.dropped


def test_louder_than_full_scale_is_cut_off_and_counted(tmp_path: Path, write_wav: WriteWav) -> None:
    import soundfile

    write_wav(tmp_path / "audio" / "quiet.wav")
    soundfile.write(tmp_path / "audio" / "loud.wav", np.linspace(-1.5, 1.5, 5000, dtype=np.float32), 16000, "FLOAT")
    soundfile.write(tmp_path / "audio" / "full.wav", np.tile([1.0, -1.0], 500), 16000, "FLOAT")
    result = packed(scanned(tmp_path / "audio"), tmp_path / "store")
    assert result.clipped == 1
    loud = clip(result.store, 1)
    assert (loud.min(), loud.max()) == (-32767, 32767)


def test_members_of_archives(audio: Path, tmp_path: Path) -> None:
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars" / "shard-0.tar", "w") as archive:
        for path in sorted(audio.iterdir()):
            archive.add(path, path.name)
    store = packed(scanned(tmp_path / "tars"), tmp_path / "store").store
    whole = packed(scanned(audio), tmp_path / "whole").store
    assert [Path(name).name for name in store.index.names()] == [f"{number}.wav" for number in range(8)]
    np.testing.assert_array_equal(store.read(0, len(store.tape)), whole.read(0, len(whole.tape)))


def test_what_is_not_as_scanned_is_left_out_as_silence(audio: Path, tmp_path: Path, write_wav: WriteWav) -> None:
    (audio / "broken.wav").write_bytes(b"RIFF")
    index = scanned(audio)
    write_wav(audio / "0.wav", 0.4, seed=77)  # of the same size
    os.utime(audio / "0.wav", ns=(0, 0))
    write_wav(audio / "2.wav", 3.0, seed=77)
    (audio / "4.wav").unlink()
    stamp = (audio / "6.wav").stat()
    (audio / "6.wav").write_bytes(bytes(stamp.st_size))
    os.utime(audio / "6.wav", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    result = packed(index, tmp_path / "store", skip_unreadable=True)
    assert [Path(name).stem for name in result.store.index.names()] == ["1", "3", "5", "7"]
    reasons = bad_files(tmp_path / "store")
    assert sorted(reasons) == ["0.wav", "2.wav", "4.wav", "6.wav", "broken.wav"]
    assert reasons["0.wav"].startswith("changed: ")
    assert re.match(r"changed: \d+ bytes, \d+ when it was scanned", reasons["2.wav"])
    assert reasons["4.wav"].startswith("unreadable: no such file")
    assert reasons["6.wav"].startswith("not audio")
    assert len(result.report) == 5
    for row, name in enumerate(result.store.index.names()):
        np.testing.assert_allclose(clip(result.store, row), to_int16(read_audio(name)).astype(int), rtol=0, atol=1)
    tape = result.store.read(0, len(result.store.tape)).copy()
    for start, length in zip(result.store.starts, result.store.lengths, strict=True):
        tape[start : start + length] = 0
    assert not tape.any()  # nothing of what was left out is on it


def test_a_clip_that_fails_midway_leaves_silence_over_all_its_shards(tmp_path: Path, write_wav: WriteWav) -> None:
    import soundfile

    write_wav(tmp_path / "audio" / "a.wav", 0.5)
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 150_000).astype(np.float32)
    soundfile.write(tmp_path / "audio" / "b.wav", wave, 16000, "FLOAT")
    write_wav(tmp_path / "audio" / "c.wav", 0.5, seed=1)
    index = scanned(tmp_path / "audio")
    stamp = (tmp_path / "audio" / "b.wav").stat()
    with (tmp_path / "audio" / "b.wav").open("rb+") as file:
        file.seek(-4000, os.SEEK_END)
        file.write(np.full(10, np.nan, np.float32).tobytes())
    os.utime(tmp_path / "audio" / "b.wav", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    result = packed(index, tmp_path / "store")
    assert bad_files(tmp_path / "store") == {"b.wav": "contains NaN"}
    (_, length), (start, _) = zip(result.store.starts.tolist(), result.store.lengths.tolist(), strict=True)
    assert start - length == 150_000
    assert not result.store.read(length, 150_000).any()
    assert result.store.verify() == []


def test_nothing_usable_is_one_sentence(audio: Path, tmp_path: Path) -> None:
    index = scanned(audio)
    times = {path: path.stat().st_mtime_ns for path in audio.iterdir()}
    for path in times:
        os.utime(path, ns=(0, 0))
    with pytest.raises(ByolaError, match=r"none of the 8 clips could be packed \(8 files could not be used: 8 changed"):
        packed(index, tmp_path / "store")
    with pytest.raises(UsageError, match="is not finished"):
        AudioStore.open(tmp_path / "store")
    for path, time_ns in times.items():
        os.utime(path, ns=(time_ns, time_ns))
    assert len(packed(index, tmp_path / "store").store) == 8  # what was found then is not held against them


def test_an_unfinished_store_says_how_far_it_is(audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, out = scanned(audio), tmp_path / "store"
    whole = packed(index, tmp_path / "whole").store

    def fail(clip: worker.Clip) -> None:
        if clip.name.endswith("5.wav"):
            raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(worker, "_require_unchanged", fail)
        with pytest.raises(
            ByolaError, match=r"store cannot be written to \(Read-only file system\); \d+ of \d+ shards"
        ):
            packed(index, out, workers=1)
    n_there, n_shards = len(list((out / "shards").iterdir())), len(whole.tape.bounds) - 1
    assert 0 < n_there < n_shards
    sentence = (
        f"is not finished: {n_there} of {n_shards} shards are packed; run the same `byol-a pack` again to finish it"
    )
    with pytest.raises(UsageError, match=sentence):
        AudioStore.open(out)
    assert is_store(out)
    before = {path: path.stat().st_mtime_ns for path in (out / "shards").iterdir()}
    result = packed(index, out)
    assert contents(out) == contents(tmp_path / "whole")
    assert result.is_new
    assert {path: path.stat().st_mtime_ns for path in before} == before  # what was finished was kept


def test_another_plan_is_not_mixed_with_the_first(audio: Path, tmp_path: Path, write_wav: WriteWav) -> None:
    index, out = scanned(audio), tmp_path / "store"
    first = contents(packed(index, out).store.folder)
    changes: list[tuple[dict[str, object], str]] = [
        ({"sample_rate": 8000}, "at 16000 Hz, not at 8000"),
        ({"shard_bytes": 70_000}, "of shards of 60000 bytes, not of 70000"),
        ({"filters": FilterConfig(min_seconds=1)}, "from another index, or with other filters"),
    ]
    for change, words in changes:
        with pytest.raises(UsageError, match=f"was made {words}.*--overwrite"):
            packed(index, out, **change)  # type: ignore[arg-type]
    write_wav(audio / "new.wav")
    with pytest.raises(UsageError, match="another index"):
        packed(scanned(audio), out)
    with pytest.raises(UsageError, match="from other inputs"):
        pack([audio], out, shard_bytes=SHARD_BYTES, progress=False)
    assert contents(out) == first
    result = packed(index, out, overwrite=True, sample_rate=8000)
    assert result.store.sample_rate == 8000 and len(result.store) == 9


def test_other_folders_are_left_alone(audio: Path, tmp_path: Path) -> None:
    index = scanned(audio)
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for out in (audio, index, tmp_path / "link"):
        for overwrite in (False, True):
            with pytest.raises(UsageError, match=r"exists already and is not a packed store.* another --out") as error:
                packed(index, out, overwrite=overwrite)
            assert "--overwrite" not in str(error.value)
    with pytest.raises(UsageError, match="name of the store is empty"):
        pack([index], "", progress=False)
    (tmp_path / "empty").mkdir()
    store = packed(index, tmp_path / "empty").store
    with pytest.raises(UsageError, match="is a packed store already"):
        pack([store.folder], tmp_path / "other", progress=False)
    with pytest.raises(UsageError, match="one index can be packed"):
        pack([index, audio], tmp_path / "other", progress=False)
    with pytest.raises(UsageError, match="nothing to pack"):
        pack([], tmp_path / "other", progress=False)
    with pytest.raises(UsageError, match="there is no index"):
        packed(tmp_path / "none.parquet", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_folders_are_scanned_once(audio: Path, tmp_path: Path, write_wav: WriteWav) -> None:
    out = tmp_path / "store"
    result = pack([audio], out, shard_bytes=SHARD_BYTES, workers=1, progress=False)
    assert len(result.store) == 8
    assert len(AudioIndex.read(out / "scan.parquet")) == 8
    write_wav(audio / "new.wav")
    again = pack([audio], out, shard_bytes=SHARD_BYTES, workers=1, progress=False)
    assert not again.is_new and len(again.store) == 8
    anew = pack([audio], out, shard_bytes=SHARD_BYTES, workers=1, overwrite=True, progress=False)
    assert anew.is_new and len(anew.store) == 9


def test_what_failed_before_there_was_a_plan_binds_nobody(audio: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    with pytest.raises(UsageError, match="not possible"):
        pack([audio], out, sample_rate=0, progress=False)
    with pytest.raises(UsageError, match="no clip of the 8"):
        pack([audio], out, filters=FilterConfig(min_seconds=100), progress=False)
    assert len(pack([audio / "2.wav"], out, progress=False).store) == 1


def test_overwriting_that_was_killed_does_not_mix_old_shards_in(
    audio: Path, tmp_path: Path, write_wav: WriteWav, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    index, out = scanned(audio), tmp_path / "store"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("byol_a.data.store.folder.PackFolder.finish", stop)
        packed(index, out)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("byol_a.data.store.folder.PackFolder._drop_shards", stop)
        packed(index, out, overwrite=True)
    for path in audio.iterdir():  # other sounds of the same length
        path.write_bytes(path.read_bytes()[:100] + path.read_bytes()[:99:-1])
    index = scanned(audio)
    packed(index, out)
    packed(index, tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")


def test_two_packers_do_not_write_to_one_store(audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byol_a.lock.PATIENCE_SECONDS", 0.1)
    index, out = scanned(audio), tmp_path / "store"
    with (
        WriterLock(out / ".lock", ""),
        pytest.raises(UsageError, match=r"another process is packing into .*store; wait"),
    ):
        packed(index, out)
    assert packed(index, out).is_new


def test_a_lock_that_is_let_go_of_soon_is_waited_for(audio: Path, tmp_path: Path) -> None:
    index, out = scanned(audio), tmp_path / "store"
    lock = WriterLock(out / ".lock", "")
    lock.__enter__()
    timer = threading.Timer(0.3, lock.__exit__, (None, None, None))
    timer.start()
    assert packed(index, out).is_new
    timer.join()


def test_a_worker_that_dies_once_costs_nothing(audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, marker = scanned(audio), tmp_path / "died"
    whole = contents(packed(index, tmp_path / "whole").store.folder)

    def die_once(clip: worker.Clip) -> None:
        if clip.name.endswith("5.wav") and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(worker, "_require_unchanged", die_once)
    packed(index, tmp_path / "store")
    assert marker.exists()
    assert contents(tmp_path / "store") == whole


def test_a_worker_that_dies_twice_names_shard_and_file(
    audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, out = scanned(audio), tmp_path / "store"

    def die(clip: worker.Clip) -> None:
        if clip.name.endswith("5.wav"):
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(worker, "_require_unchanged", die)
        with pytest.raises(
            ByolaError, match=r"shards/\d{5}\.npy died twice .* over .*/5\.wav; move that file away.* --skip-un"
        ):
            packed(index, out)
    assert not list(out.rglob("*.partial"))
    (audio / "5.wav").unlink()
    assert len(packed(index, out, skip_unreadable=True).store) == 7


def test_too_little_room_is_found_before_anything_is_written(
    audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, usage = scanned(audio), shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=123_000))
    with pytest.raises(
        ByolaError, match=r"store takes another 393 kB, but its disk has 123 kB left; make room"
    ) as error:
        packed(index, tmp_path / "store")
    assert error.value.exit_code == 1
    assert not (tmp_path / "store").exists()


def test_a_disk_that_gets_full_keeps_the_finished_shards(
    tmp_path: Path, small_disk: Path, write_wav: WriteWav, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        write_wav(tmp_path / "audio" / f"{number:02d}.wav", 2.2, seed=number)
    index, out = scanned(tmp_path / "audio"), small_disk / "store"
    with pytest.raises(ByolaError, match=r"its disk has 3.*MB left"):
        packed(index, out, shard_bytes=300_000)
    assert not list(small_disk.iterdir())
    with monkeypatch.context() as patch:  # somebody else fills it up meanwhile
        patch.setattr("byol_a.data.store.pack._require_room", lambda *arguments: None)
        with pytest.raises(
            ByolaError, match=r"the disk of .* is full \(\d+ of 15 shards are packed, and kept\); make room"
        ):
            packed(index, out, shard_bytes=300_000)
    there = list((out / "shards").iterdir())
    assert 4 <= len(there) < 15
    assert all(path.suffix == ".npy" for path in there)
    assert not list(out.rglob("*.partial"))
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True, timeout=60)
    packed(index, out, shard_bytes=300_000)
    packed(index, tmp_path / "whole", shard_bytes=300_000)
    assert contents(out) == contents(tmp_path / "whole")


@pytest.fixture
def many(tmp_path: Path, write_wav: WriteWav) -> Path:
    """The index of a collection that takes a moment to pack: 48 clips, of which one is long."""
    for number in range(48):
        write_wav(tmp_path / "audio" / f"{number:03d}.wav", 20 if number == 17 else 1.0, 44100, seed=number)
    return scanned(tmp_path / "audio")


def packing(index: Path, out: Path) -> subprocess.Popen[str]:
    arguments = ("pack", index, "--out", out, "--shard-mb", 0.04, "--workers", 2)
    return subprocess.Popen(
        command(*arguments),
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def wait_for_shards(out: Path, count: int, process: subprocess.Popen[str]) -> bool:
    """Wait until there are so many shards; False if the process ended before."""
    deadline = time.monotonic() + 60
    while process.poll() is None:
        if len(list((out / "shards").glob("[0-9]*.npy"))) >= count:
            return True
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return False


def test_killed_at_random_moments_and_resumed_it_is_the_same_store(many: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "store"
    packed(many, whole, shard_bytes=40_000)
    n_shards = len(list((whole / "shards").iterdir()))
    kills = 0
    for attempt in range(1, 7):
        process = packing(many, out)
        if wait_for_shards(out, attempt * n_shards // 7, process):
            time.sleep(random.uniform(0, 0.02))
            process.kill()  # only it: its workers have to find out themselves
            kills += 1
        with contextlib.closing(process.stdout or io.StringIO()), contextlib.closing(process.stderr or io.StringIO()):
            process.wait(60)
        assert is_store(out)
    assert kills >= 4
    process = packing(many, out)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert contents(out) == contents(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_and_says_how_to_go_on(number: signal.Signals, many: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    process = packing(many, out)
    assert wait_for_shards(out, 3, process)
    os.killpg(process.pid, number)  # as Ctrl-C in a terminal does: workers get it too
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert re.search(
        rf"stopped by {number.name}; \d+ of \d+ shards are packed; run the same `byol-a pack` again", errors
    )
    assert "Traceback" not in errors
    assert not list(out.rglob("*.partial"))
    packed(many, out, shard_bytes=40_000)
    assert AudioStore.open(out).verify() == []


def test_an_account_that_is_damaged_means_packing_again(
    audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    index, out = scanned(audio), tmp_path / "store"
    whole = contents(packed(index, tmp_path / "whole").store.folder)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("byol_a.data.store.folder.PackFolder.finish", stop)
        packed(index, out)
    damages = [
        "",
        "{",
        "[]",
        '{"shards": 3}',
        '{"shards": [], "checksums": "", "bad": [], "clipped": []}',
        "[" * 100_000,
    ]
    accounts = sorted((out / "parts").glob("*.json"))
    for account, text in zip(accounts[1:], damages, strict=False):
        account.write_text(text)
    (out / "shards" / "00000.npy").write_bytes(b"short")
    assert len(accounts) > len(damages)
    packed(index, out)
    assert contents(out) == whole


@pytest.mark.parametrize(
    ("what", "instead"),
    [
        (r'"samples": (\d+)', '"samples": 1e999'),
        (r'"checksum": "', '"checksum": "x'),
        (r'"bad": \[\]', r'"bad": [[0, "changed: \\\\ud800"]]'),
    ],
)
def test_no_account_can_make_every_later_run_fail(
    what: str, instead: str, audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    index, out = scanned(audio), tmp_path / "store"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("byol_a.data.store.folder.PackFolder.finish", stop)
        packed(index, out)
    account = sorted((out / "parts").glob("*.json"))[0]
    text, count = re.subn(what, instead, account.read_text())
    assert count
    account.write_text(text)
    assert packed(index, out).store.verify() == []


@pytest.mark.parametrize(
    "packing",
    ["null", '{"format": "byol-a-packed-audio"}', '{"format": "byol-a-packed-audio", "settings": 3, "shards": "x"}'],
)
def test_a_folder_of_ours_that_says_nothing_more_is_begun_anew(packing: str, audio: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    out.mkdir()
    (out / "packing.json").write_text(packing)
    if packing == "null":
        with pytest.raises(UsageError, match="exists already"):
            packed(scanned(audio), out)
        return
    with pytest.raises(UsageError, match="is not finished: nothing is packed yet"):
        AudioStore.open(out)
    assert len(packed(scanned(audio), out).store) == 8


def test_a_kill_before_the_tidying_up_leaves_a_store(
    audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, out = scanned(audio), tmp_path / "store"
    with monkeypatch.context() as patch:
        patch.setattr("byol_a.data.store.folder.PackFolder.tidy", lambda folder: None)
        packed(index, out)
    assert (out / "packing.json").exists()
    assert len(AudioStore.open(out)) == 8
    assert not packed(index, out).is_new
    assert sorted(contents(out)) == sorted(contents(packed(index, tmp_path / "whole").store.folder))


def test_workers_import_neither_torch_nor_plots() -> None:
    script = (
        "import sys, byol_a.data.store.shards\n"
        "print([name for name in ('torch', 'pyarrow', 'matplotlib', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run(command(launcher=("-c", script)), capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_the_description_is_plain_json(audio: Path, tmp_path: Path) -> None:
    result = packed(scanned(audio), tmp_path / "store", filters=FilterConfig(min_seconds=0.5))
    description = json.loads((tmp_path / "store" / "store.json").read_text())
    assert description["clips"]["rows"] == 7
    assert description["counts"]["samples"] == result.store.lengths.sum()
    assert description["counts"]["bytes"] == sum(path.stat().st_size for path in (tmp_path / "store/shards").iterdir())
    assert description["filters"]["min_seconds"] == 0.5


def public(folder: Path) -> dict[str, bytes]:
    """`contents`, but for what is hidden."""
    return {name: data for name, data in contents(folder).items() if not name.startswith(".")}


FAILURES: list[tuple[str, dict[str, object]]] = [
    ("ids.csv cannot be read", {"filters": FilterConfig(ids="ids.csv")}),
    ("no clip of the 3", {"filters": FilterConfig(min_seconds=100)}),
    ("a sample rate of 0 Hz", {"sample_rate": 0}),
    ("a shard of 5 bytes", {"shard_bytes": 5}),
    ("its disk has 265 kB left", {"sample_rate": 48000}),
    ("nowhere does not exist", {"inputs": "nowhere"}),
    ("there is no index", {"inputs": "nowhere.parquet"}),
    ("is not there or empty", {"inputs": "gone.parquet"}),
    ("is not there or empty", {"inputs": "audio.parquet", "root": "nowhere"}),
]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores of a folder and of its index, beside these, and the index of a folder that is gone."""
    import soundfile

    home = tmp_path_factory.mktemp("stores")
    (home / "audio").mkdir()
    for number in range(3):
        soundfile.write(home / "audio" / f"{number}.wav", np.random.default_rng(number).uniform(-1, 1, 40_000), 16000)
    shutil.copytree(home / "audio", home / "gone")
    scanned(home / "gone")
    shutil.rmtree(home / "gone")
    scanned(home / "audio")
    for made_of in ("audio", "audio.parquet"):
        pack([home / made_of], home / f"{made_of}.store", shard_bytes=100_000, workers=1, progress=False)
    return home


@pytest.mark.parametrize("made_of", ["audio", "audio.parquet"])
@pytest.mark.parametrize(("words", "change"), FAILURES)
def test_overwriting_touches_nothing_until_it_can_be_done(
    words: str, change: dict[str, object], made_of: str, stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stores)
    out = Path(shutil.copytree(stores / f"{made_of}.store", tmp_path / "store"))
    before = contents(out)
    # The bytes of the old store, 240 kB, count as free.
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 25_000))
    options = {"inputs": made_of, "shard_bytes": 100_000, **change}
    with pytest.raises(ByolaError, match=words):
        pack([options.pop("inputs")], out, overwrite=True, progress=False, workers=1, **options)  # type: ignore[arg-type,list-item]
    assert public(out) == before
    assert AudioStore.open(out).verify() == []
    again = pack([made_of], out, shard_bytes=100_000, progress=False)
    assert not again.is_new
    assert contents(out) == before  # nothing hidden is left either
    if "disk" in words:
        assert pack([made_of], out, shard_bytes=100_000, overwrite=True, progress=False).is_new


def test_overwriting_reads_in_a_scan_only_what_is_new(
    audio: Path, tmp_path: Path, write_wav: WriteWav, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []

    def noting(*arguments: object, **options: object) -> object:
        result = scan(*arguments, **options)  # type: ignore[arg-type]
        reads.append(result.read)
        return result

    monkeypatch.setattr("byol_a.data.store.pack.scan", noting)
    for overwrite in (False, True):
        pack([audio], tmp_path / "store", workers=1, overwrite=overwrite, progress=False)
    write_wav(audio / "new.wav")
    filters = FilterConfig(min_seconds=99)
    with pytest.raises(UsageError, match="no clip of the 9"):
        pack([audio], tmp_path / "store", filters=filters, workers=1, overwrite=True, progress=False)
    result = pack([audio], tmp_path / "store", workers=1, overwrite=True, progress=False)
    assert reads == [8, 0, 1, 0]
    assert len(result.store) == len(AudioIndex.read(tmp_path / "store" / "scan.parquet")) == 9


def stop_at(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make packing fail at a clip."""

    def fail(clip: worker.Clip) -> None:
        if clip.name.endswith(name):
            raise OSError(30, "Read-only file system")

    monkeypatch.setattr(worker, "_require_unchanged", fail)


@pytest.mark.parametrize("made_of", ["audio", "audio.parquet"])
def test_an_interrupted_overwriting_goes_on(
    made_of: str, audio: Path, tmp_path: Path, write_wav: WriteWav, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scanned(audio)

    def again(**options: object) -> PackResult:
        return pack([made_of], "store", shard_bytes=SHARD_BYTES, workers=1, progress=False, **options)  # type: ignore[arg-type]

    first = again(filters=FilterConfig(min_seconds=0.5))
    old = (first.store.folder / "shards" / "00000.npy").stat().st_mtime_ns
    with monkeypatch.context() as patch, pytest.raises(ByolaError, match="Read-only"):
        stop_at("6.wav", patch)
        again(overwrite=True)
    there = {path: path.stat().st_mtime_ns for path in Path("store/shards").iterdir()}
    assert there and min(there.values()) > old
    if made_of == "audio":  # what is being packed does not follow what changes
        write_wav(audio / "new.wav")
    with monkeypatch.context() as patch, pytest.raises(ByolaError, match="Read-only"):
        stop_at("7.wav", patch)
        again(overwrite=True)
    result = again(overwrite=True)
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in there.items())
    assert len(result.store) == 8 and result.store.verify() == []
    # It is finished: the next one begins anew, with what has changed.
    assert len(again(overwrite=True).store) == 8 + (made_of == "audio")
    assert not any(path.stat().st_mtime_ns == time_ns for path, time_ns in there.items())


def test_an_interrupted_overwriting_with_another_plan_begins_anew(
    audio: Path, tmp_path: Path, write_wav: WriteWav, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, object] = {"shard_bytes": SHARD_BYTES, "workers": 1, "progress": False}
    out = tmp_path / "store"
    with monkeypatch.context() as patch, pytest.raises(ByolaError, match="Read-only"):
        stop_at("6.wav", patch)
        pack([audio], out, **options)  # type: ignore[arg-type]
    n_there = len(list((out / "shards").iterdir()))
    with monkeypatch.context() as patch, pytest.raises(ByolaError, match="Read-only"):
        stop_at("3.wav", patch)
        pack([audio], out, overwrite=True, **options)  # type: ignore[arg-type]
    assert len(list((out / "shards").iterdir())) < n_there  # what the first run had packed is gone
    write_wav(audio / "new.wav")
    filters = FilterConfig(exclude=["0*"])
    result = pack([audio], out, filters=filters, overwrite=True, **options)  # type: ignore[arg-type]
    assert [Path(name).stem for name in result.store.index.names()] == [*"1234567", "new"]
    assert result.store.verify() == []


def test_files_that_are_away_for_a_moment_are_waited_for(audio: Path, tmp_path: Path) -> None:
    index, out = scanned(audio), tmp_path / "store"
    whole = contents(packed(index, tmp_path / "whole").store.folder)
    for number in (2, 5):
        (audio / f"{number}.wav").rename(tmp_path / f"{number}.wav")
    words = (
        r"2 files cannot be read now \(first: .*audio/2\.wav, unreadable: no such file.*\); the rest is packed; run .*"
    )
    for _ in range(2):
        with pytest.raises(ByolaError, match=words + "--skip-unreadable") as error:
            packed(index, out)
        assert error.value.exit_code == 1
        with pytest.raises(UsageError, match="is not finished"):
            AudioStore.open(out)
    shutil.copytree(out, tmp_path / "other")
    times = {path: path.stat().st_mtime_ns for path in (out / "shards").iterdir()}
    for number in (2, 5):
        (tmp_path / f"{number}.wav").rename(audio / f"{number}.wav")
    result = packed(index, out)
    assert result.is_new and not result.report
    assert contents(out) == whole
    again = [path for path, time_ns in times.items() if path.stat().st_mtime_ns != time_ns]
    assert 2 <= len(again) < len(times) / 2  # only the shards that they are in
    skipped = packed(index, tmp_path / "other", skip_unreadable=True)
    assert len(skipped.store) == 6 and len(skipped.report) == 2
    assert skipped.store.verify() == []


def test_an_account_does_not_outlive_its_shard(audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(30, "Read-only file system")

    index, out = scanned(audio), tmp_path / "store"
    (audio / "2.wav").rename(tmp_path / "2.wav")
    with pytest.raises(ByolaError, match="1 file cannot be read"):
        packed(index, out)
    (tmp_path / "2.wav").rename(audio / "2.wav")
    with monkeypatch.context() as patch, pytest.raises(ByolaError, match="Read-only"):
        patch.setattr(worker, "write_json", fail)  # the shard is replaced, and the account is not
        packed(index, out)
    result = packed(index, out, skip_unreadable=True)
    assert len(result.store) == 8 and result.store.verify() == []


@pytest.mark.parametrize("leaves_mount_point", [False, True])
@pytest.mark.parametrize("skip_unreadable", [False, True])
def test_a_collection_that_goes_away_stops_it(
    leaves_mount_point: bool, skip_unreadable: bool, audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = worker._require_unchanged
    index, out, away = scanned(audio), tmp_path / "store", tmp_path / "away"

    def unmount(clip: worker.Clip) -> None:
        if clip.name.endswith("3.wav"):
            audio.rename(away)
            if leaves_mount_point:
                audio.mkdir()
        real(clip)

    words = r"audio is not there or empty, so that its files cannot be read \(\d+ of \d+ shards are packed\); mount it"
    with monkeypatch.context() as patch, pytest.raises(ByolaError, match=words):
        patch.setattr(worker, "_require_unchanged", unmount)
        packed(index, out, workers=1, skip_unreadable=skip_unreadable)
    n_shards = len(list((out / "shards").iterdir()))
    with pytest.raises(ByolaError, match=words):
        packed(index, out, workers=1, skip_unreadable=skip_unreadable)
    assert len(list((out / "shards").iterdir())) == n_shards
    moved = packed(index, out, root=away)  # or they are found again elsewhere
    assert len(moved.store) == 8 and not moved.report
    assert moved.store.index.name(0) == str(away / "0.wav")


def test_a_root_is_for_an_index(audio: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--root says where the files of an index are now"):
        pack([audio], tmp_path / "store", root=audio, progress=False)
    with pytest.raises(ByolaError, match="nowhere is not there or empty"):
        packed(scanned(audio), tmp_path / "store", root=tmp_path / "nowhere")
    assert not (tmp_path / "store").exists()


def test_what_is_odd_about_one_file_does_not_stop_the_others(tmp_path: Path, write_wav: WriteWav) -> None:
    write_wav(tmp_path / "audio" / "0.wav", 0.5)
    write_wav(tmp_path / "audio" / "1.wav", 0.5, 2_000_000)
    write_wav(tmp_path / "audio" / "2.wav", 0.01, 9_999_999)
    write_wav(tmp_path / "audio" / "3.wav", 0.5)
    index = AudioIndex.read(scanned(tmp_path / "audio"))
    store = packed(tmp_path / "audio.parquet", tmp_path / "store").store
    assert store.lengths.tolist() == [8000, 8000, 160, 8000]
    for name, values in {"sample_rate": [16000, 2**31 - 1, None, 16000], "frames": [8000, 8000, 8000, 1 << 50]}.items():
        table = index.table
        place = table.schema.get_field_index(name)
        index = AudioIndex(table.set_column(place, name, pa.array(values, table.schema.types[place])))
    plan, rejected = make_plan(index, 16000, SHARD_BYTES)
    assert len(plan.index) == 1
    assert [(Path(name).name, reason) for name, reason in rejected] == [
        ("1.wav", "unsupported: 8000 samples at 2147483647 Hz"),
        ("2.wav", "unsupported: the index does not say how long it is"),
        ("3.wav", f"unsupported: {1 << 50} samples at 16000 Hz"),
    ]


def test_a_clip_over_more_shards_than_files_may_be_open(tmp_path: Path, write_wav: WriteWav) -> None:
    import resource

    write_wav(tmp_path / "audio" / "long.wav", 4.0)
    index, (soft, hard) = scanned(tmp_path / "audio"), resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        store = packed(index, tmp_path / "store", shard_bytes=1000, workers=1).store
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(store.tape.bounds) > 140
    np.testing.assert_array_equal(clip(store, 0), to_int16(read_audio(tmp_path / "audio" / "long.wav")))


def test_where_nothing_was_begun_nothing_is_left(audio: Path, tmp_path: Path) -> None:
    empty, deep = tmp_path / "empty", tmp_path / "new" / "deep" / "store"
    (tmp_path / "no_audio").mkdir()
    empty.mkdir()
    before = sorted(tmp_path.rglob("*"))
    for out in (deep, empty):
        for inputs in ("nowhere", "no_audio"):
            with pytest.raises(UsageError, match=r"does not exist|no audio file"):
                pack([tmp_path / inputs], out, progress=False)
            assert sorted(tmp_path.rglob("*")) == before
    index = scanned(audio)
    with pytest.raises(UsageError, match="no clip of the 8"):
        packed(index, deep, filters=FilterConfig(min_seconds=99))
    assert not (tmp_path / "new").exists()


def test_an_output_folder_whose_name_is_not_text(audio: Path, tmp_path: Path) -> None:
    out = Path(os.fsdecode(os.fsencode(tmp_path) + b"/n\xff/store"))
    try:
        out.parent.mkdir()
    except OSError:
        pytest.skip("this file system takes only names that are UTF-8")
    for overwrite in (False, True):
        store = pack([audio], out, workers=1, shard_bytes=SHARD_BYTES, overwrite=overwrite, progress=False).store
        assert store.verify() == []
    flipped = bytearray((out / "shards" / "00001.npy").read_bytes())
    flipped[200] ^= 1
    (out / "shards" / "00001.npy").write_bytes(flipped)
    assert [name.startswith("/") for name, _ in store.verify()] == [False, True]
