"""Scanning: what is measured, what is read again and what is not, and that nothing ends a scan for good."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from byol_a import lock
from byol_a.cli import main
from byol_a.data.index import SCHEMA, AudioIndex
from byol_a.data.scan import scan as scanning
from byol_a.data.scan.measure import Measurement, measure
from byol_a.data.scan.scan import ScanResult
from byol_a.errors import ByolaError, UsageError
from byol_a.files import atomic_file
from byol_a.interrupt import Interrupted

from ... import awkward


def scan(*inputs: Path | str, out: Path, **options: bool) -> ScanResult:
    return scanning.scan(inputs, out, workers=2, progress=False, **options)


def counts(result: ScanResult) -> tuple[int, int, int, int, int]:
    return result.new, result.changed, result.unchanged, result.gone, result.read


def errors(index: AudioIndex) -> dict[str, str | None]:
    return dict(zip(index.table["path"].to_pylist(), index.table["error"].to_pylist(), strict=True))


@pytest.fixture
def clips(tmp_path: Path, write_wav: Callable[..., Path]) -> Path:
    """A folder with six short sounds."""
    for number in range(6):
        write_wav(tmp_path / "clips" / f"{'ab'[number % 2]}" / f"{number}.wav", seconds=0.1, seed=number)
    return tmp_path / "clips"


# What is measured.


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_measurements_are_those_of_the_mean_of_the_channels(tmp_path: Path, channels: int, subtype: str) -> None:
    rng = np.random.default_rng(channels)
    wave = 0.3 * rng.standard_normal((3000, channels))
    wave[rng.random(3000) < 0.25] = 0
    wave[100] = 1.5 if subtype == "FLOAT" else -1.0  # beyond full scale where that is possible
    soundfile.write(tmp_path / "a.wav", wave, 22050, subtype=subtype)
    mono = soundfile.read(tmp_path / "a.wav", always_2d=True)[0].mean(axis=1)
    row = measure(tmp_path / "a.wav")
    assert row.error is None
    assert (row.format, row.subtype, row.sample_rate, row.channels) == ("WAV", subtype, 22050, channels)
    assert (row.frames, row.duration) == (3000, 3000 / 22050)
    assert row.peak == pytest.approx(np.abs(mono).max(), rel=1e-6)
    assert row.rms == pytest.approx(np.sqrt(np.mean(mono**2)), rel=1e-6)
    assert row.silence == np.mean(mono == 0)


def test_long_files_are_measured_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wave = np.random.default_rng(0).standard_normal(50_000).clip(-3, 3) / 4
    soundfile.write(tmp_path / "a.ogg", wave, 16000)
    whole = measure(tmp_path / "a.ogg")
    monkeypatch.setattr("byol_a.data.scan.measure._VALUES_AT_ONCE", 1000)
    blocks = measure(tmp_path / "a.ogg")
    assert blocks.rms == pytest.approx(whole.rms, rel=1e-12)
    assert blocks._replace(rms=whole.rms) == whole


def test_the_same_sound_has_the_same_digest_in_any_lossless_file(tmp_path: Path) -> None:
    wave = (np.random.default_rng(0).standard_normal((2000, 2)) * 8000).astype(np.int16)
    names = {"a.wav": "PCM_16", "b.flac": "PCM_16", "c.aiff": "PCM_24", "d.wav": "FLOAT", "e.w64": "PCM_32"}
    for name, subtype in names.items():
        samples = wave / np.float32(32768) if subtype == "FLOAT" else wave
        soundfile.write(tmp_path / name, samples, 16000, subtype=subtype)
    digests = {measure(tmp_path / name).digest for name in names}
    assert len(digests) == 1
    assert len(digests.pop() or b"") == 16
    soundfile.write(tmp_path / "slower.wav", wave, 8000)
    wave[0, 0] ^= 1
    soundfile.write(tmp_path / "other.wav", wave, 16000)
    minus = np.zeros(100, np.float32)
    soundfile.write(tmp_path / "minus.wav", -minus, 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "plus.wav", minus, 16000)
    others = [measure(tmp_path / f"{name}.wav").digest for name in ("a", "slower", "other", "plus")]
    assert len(set(others)) == 4
    assert measure(tmp_path / "minus.wav").digest == others[-1]


def test_a_bad_file_has_nothing_but_its_error(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("text")
    row = measure(tmp_path / "a.wav")
    assert row.error is not None
    assert row.error.startswith("not audio")
    assert row == Measurement(error=row.error)
    assert measure(tmp_path / "gone.wav").error == "unreadable: no such file or directory"


# What the index says.


def test_the_index_has_a_row_for_each_file(tmp_path: Path, clips: Path) -> None:
    result = scan(clips, out=tmp_path / "new" / "index.parquet")
    assert counts(result) == (6, 0, 0, 0, 6)
    assert result.unusable == 0
    table = pq.read_table(tmp_path / "new" / "index.parquet")
    assert table.schema.remove_metadata() == SCHEMA
    assert table["path"].to_pylist() == ["a/0.wav", "a/2.wav", "a/4.wav", "b/1.wav", "b/3.wav", "b/5.wav"]
    assert table["root"].unique().to_pylist() == [str(clips)]
    for row in table.to_pylist():
        path = clips / row["path"]
        assert (row["size"], row["mtime_ns"]) == (path.stat().st_size, path.stat().st_mtime_ns)
        assert row["offset"] is row["raw_path"] is row["error"] is None
        measured = measure(path)
        for name in ("frames", "duration", "sample_rate", "channels", "digest", "format", "subtype"):
            assert row[name] == getattr(measured, name)
        for name in ("peak", "rms", "silence"):
            assert row[name] == np.float32(getattr(measured, name))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["index.parquet"]
    again = AudioIndex.read(tmp_path / "new" / "index.parquet")
    assert again.table.equals(result.index.table)


def test_a_row_for_each_awkward_thing(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    cases = awkward.write_corpus(folder)
    result = scan(folder, out=tmp_path / "index.parquet")
    fates = {os.fsencode(case.name): case.fate for case in cases if case.fate != awkward.UNSEEN}
    if "forbidden" in {case.name for case in cases if case.fate == awkward.USABLE}:
        fates[b"forbidden/inside.wav"] = fates.pop(b"forbidden")
    rows = {result.index.path_bytes(row): row for row in range(len(result.index))}
    assert rows.keys() == fates.keys()
    reasons = result.index.table["error"].to_pylist()
    for name, fate in fates.items():
        reason = reasons[rows[name]]
        assert reason is None if fate == awkward.USABLE else reason.startswith(fate), name
        assert (result.index.table["frames"][rows[name]].as_py() is None) == (reason is not None)
    n_unreadable = sum(fate == "unreadable" for fate in fates.values())
    again = scan(folder, out=tmp_path / "index.parquet")
    assert (again.unchanged, again.read) == (len(fates), again.read)
    assert again.read <= n_unreadable
    assert again.index.table.equals(result.index.table)
    awkward.clear(folder)


def test_names_that_are_not_utf8_can_be_opened_from_the_index(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    for name in ("caf\udce9/b.wav", "\udcff.wav", "\\xff.wav"):
        (tmp_path / "clips" / "caf\udce9").mkdir(parents=True, exist_ok=True)
        try:
            write_wav(tmp_path / "a.wav", seconds=0.1, seed=len(name)).rename(tmp_path / "clips" / name)
        except OSError:
            pytest.skip("this file system takes only names that are UTF-8")
    result = scan(tmp_path / "clips", out=tmp_path / "index.parquet")
    assert result.unusable == 0
    assert len(set(result.index.names())) == 3
    assert all(Path(name).exists() for name in result.index.names())
    assert counts(scan(tmp_path / "clips", out=tmp_path / "index.parquet")) == (0, 0, 3, 0, 0)
    inside = scan(tmp_path / "clips" / "caf\udce9", out=tmp_path / "inside.parquet").index
    assert inside.roots == [str(tmp_path / "clips")]  # a root is text
    assert inside.name(0) == str(tmp_path / "clips" / "caf\udce9" / "b.wav")


def test_paths_are_relative_to_the_nearest_input(
    tmp_path: Path, clips: Path, write_wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = write_wav(tmp_path / "elsewhere" / "alone.bin.wav", seconds=0.1)
    alone = alone.rename(alone.with_suffix(""))
    monkeypatch.chdir(clips)
    result = scan("b", clips / "a" / ".." / "a" / "0.wav", clips / "a", alone, out=tmp_path / "index.parquet")
    rows = zip(result.index.table["root"].to_pylist(), result.index.table["path"].to_pylist(), strict=True)
    assert list(rows) == [
        *((str(clips / "a"), f"{number}.wav") for number in (0, 2, 4)),
        *((str(clips / "b"), f"{number}.wav") for number in (1, 3, 5)),
        (str(alone.parent), "alone.bin"),
    ]
    assert all(Path(name).is_file() for name in result.index.names())
    above = scan(clips, "b", out=tmp_path / "above.parquet").index
    assert sorted(above.names()) == sorted(result.index.names())[:6]


# What is read again.


def test_a_second_scan_reads_only_what_has_changed(
    tmp_path: Path, clips: Path, write_wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "index.parquet"
    first = scan(clips, out=out)
    looked_at = tmp_path / "looked_at"

    def noting(path: str, section: tuple[int, int] | None = None) -> Measurement:
        with looked_at.open("a") as file:
            print(path, file=file)
        return measure(path, section)

    monkeypatch.setattr(scanning, "measure", noting)
    assert counts(scan(clips, out=out)) == (0, 0, 6, 0, 0)
    assert not looked_at.exists()

    write_wav(clips / "a" / "0.wav", seconds=0.2)  # another size
    same_size = clips / "a" / "2.wav"
    write_wav(same_size, seconds=0.1, seed=99)
    os.utime(same_size, ns=(0, 12345))
    write_wav(clips / "new.wav", seconds=0.1)
    (clips / "b" / "5.wav").unlink()
    second = scan(clips, out=out)
    assert counts(second) == (1, 2, 3, 1, 3)
    assert sorted(looked_at.read_text().splitlines()) == sorted(
        str(clips / name) for name in ("a/0.wav", "a/2.wav", "new.wav")
    )
    old, new = (dict(zip(r.index.names(), r.index.table.to_pylist(), strict=True)) for r in (first, second))
    for name in old.keys() & new.keys():
        assert (old[name] == new[name]) == (name not in looked_at.read_text())
    assert second.index.table.equals(scan(clips, out=tmp_path / "fresh.parquet").index.table)

    looked_at.unlink()
    assert counts(scan(clips, out=out, rescan=True)) == (0, 0, 6, 0, 6)
    assert len(looked_at.read_text().splitlines()) == 6


def test_the_unreadable_is_tried_again_and_the_useless_is_not(
    tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clips / "text.wav").write_text("text")

    def refused(path: str, section: object = None) -> Measurement:
        return Measurement(error="unreadable: permission denied") if path.endswith("0.wav") else measure(path)

    with monkeypatch.context() as patch:
        patch.setattr(scanning, "measure", refused)
        assert scan(clips, out=tmp_path / "i.parquet").unusable == 2
        assert counts(scan(clips, out=tmp_path / "i.parquet")) == (0, 0, 7, 0, 1)
    allowed = scan(clips, out=tmp_path / "i.parquet")
    assert counts(allowed) == (0, 0, 7, 0, 1)
    assert allowed.unusable == 1


def test_an_index_describes_exactly_its_inputs(tmp_path: Path, clips: Path) -> None:
    out = tmp_path / "index.parquet"
    scan(clips / "a", out=out)
    both = scan(clips / "a", clips / "b", out=out)
    assert counts(both) == (3, 0, 3, 0, 3)
    with pytest.raises(UsageError, match=r"is an index of .*a as well, .*--overwrite"):
        scan(clips / "b", out=out)
    assert AudioIndex.read(out).roots == [str(clips / "a"), str(clips / "b")]
    assert counts(scan(clips / "b", out=out, overwrite=True)) == (0, 0, 3, 3, 0)
    assert AudioIndex.read(out).roots == [str(clips / "b")]
    with pytest.raises(UsageError, match=r"is an index of .*b, not of .*a; .*--overwrite"):
        scan(clips / "a", out=out)
    assert AudioIndex.read(out).roots == [str(clips / "b")]
    assert counts(scan(clips / "a", out=out, overwrite=True)) == (3, 0, 0, 3, 3)
    scan(clips / "a", clips / "b", out=out)
    shutil.rmtree(clips / "b")  # what is no longer there is not missed
    assert counts(scan(clips / "a", out=out)) == (0, 0, 3, 3, 0)


@pytest.mark.parametrize("content", [b"important", b"", "table"])
def test_what_is_no_index_is_never_replaced(tmp_path: Path, clips: Path, content: bytes | str) -> None:
    import pyarrow as pa

    out = tmp_path / "index.parquet"
    if isinstance(content, str):
        pq.write_table(pa.table({"root": ["/a"], "path": ["b"]}), out)
    else:
        out.write_bytes(content)
    before = out.read_bytes()
    with pytest.raises(UsageError, match="is not an index made by a scan"):
        scan(clips, out=out, overwrite=True)
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips", "index.parquet"]


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        (".", r"^\. is a folder; .* index\.parquet$"),
        ("clips", "is a folder"),
        ("x.png", r"let --out end in \.parquet"),
        ("pipe.parquet", "is not a regular file"),
        ("clips/a/0.wav/x.parquet", "0.wav is not a folder"),
        ("clips/a/0.wav/deep/x.parquet", "0.wav is not a folder"),
    ],
)
def test_where_no_index_can_be(
    tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch, out: str, sentence: str
) -> None:
    os.mkfifo(tmp_path / "pipe.parquet")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=sentence):
        scan(clips, out=Path(out), overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_output_folder_that_is_not_utf8(tmp_path: Path, clips: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "n\udcff" / "x.parquet"
    try:
        out.parent.mkdir()
    except OSError:
        pytest.skip("this file system takes only names that are UTF-8")
    for read in (6, 0):
        with pytest.raises(SystemExit) as stopped:
            main(["scan", str(clips), "--out", str(out), "--workers", "1"])
        assert stopped.value.code == 0
        assert f"{read} read" in capfd.readouterr().out
        assert sorted(path.name for path in out.parent.iterdir()) == ["x.parquet", "x.parquet.png"]
    assert len(AudioIndex.read(out)) == 6


def test_a_damaged_index_is_made_anew(tmp_path: Path, clips: Path) -> None:
    out = tmp_path / "index.parquet"
    scan(clips, out=out)
    data = bytearray(out.read_bytes())
    data[4:400] = bytes(396)  # of the columns; the footer with the format is whole
    out.write_bytes(data)
    assert counts(scan(clips, out=out)) == (6, 0, 0, 0, 6)


def test_nothing_found_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no audio file was found"):
        scan(tmp_path / "empty", out=tmp_path / "index.parquet")
    with pytest.raises(UsageError, match="does not exist"):
        scan(tmp_path / "gone", out=tmp_path / "index.parquet")
    with pytest.raises(UsageError, match="does not exist"):
        scan(tmp_path / "gone", out=tmp_path / "new" / "deep" / "index.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_what_a_killed_scan_was_writing_is_removed(tmp_path: Path, clips: Path) -> None:
    left = [tmp_path / f".{name}.99999.partial" for name in ("index.parquet", "index.parquet.png")]
    others = [tmp_path / f".{name}.partial" for name in ("index.parquet.mine", "Xindex.parquet.1", "index.parquet")]
    for path in (*left, *others):
        path.touch()
    scan(clips, out=tmp_path / "index.parquet")
    assert sorted(tmp_path.iterdir()) == sorted([*others, clips, tmp_path / "index.parquet"])


# Archives.


def test_archives_are_looked_into(tmp_path: Path, clips: Path) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    with tarfile.open(shards / "s-0.tar", "w") as archive:
        archive.add(clips / "a", "a")
        member = tarfile.TarInfo("../escape.wav")
        archive.addfile(member)
        archive.add(clips / "a" / "0.wav", "text.json")
    whole = (shards / "s-0.tar").read_bytes()
    with tarfile.open(shards / "s-1.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        archive.add(clips / "b" / "1.wav", "caf\udce9.wav")
        archive.add(clips / "b" / "3.wav", "cut.wav")
    cut = shards / "s-1.tar"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 1024 * 512])
    (shards / "s-2.tar.gz").write_bytes(gzip.compress(whole))
    (shards / "table.csv.gz").write_bytes(gzip.compress(b"a,b"))
    with tarfile.open(shards / "words.tar", "w") as archive:
        archive.add(__file__, "words.txt")
    shutil.copy(clips / "a" / "0.wav", shards)

    result = scan(shards, out=tmp_path / "index.parquet")
    found = errors(result.index)
    assert list(found) == [
        "0.wav",
        *(f"s-0.tar/a/{number}.wav" for number in (0, 2, 4)),
        "s-0.tar/%2E%2E/escape.wav",
        "s-1.tar/caf\\xe9.wav",
        "s-1.tar",
        "s-2.tar.gz",
        "words.tar",
    ]
    kinds = {path: error.partition(":")[0] for path, error in found.items() if error}
    assert kinds == {
        "s-0.tar/%2E%2E/escape.wav": "unsupported",
        "s-1.tar": "truncated",
        "s-2.tar.gz": "unsupported",
        "words.tar": "empty",
    }
    rows = result.index.table.to_pylist()
    files = {row["path"]: row for row in scan(clips, out=tmp_path / "clips.parquet").index.table.to_pylist()}
    for row in rows[1:4]:
        file = files[row["path"].removeprefix("s-0.tar/")]
        assert row["digest"] == file["digest"]
        assert row["size"] == file["size"]
        assert whole[row["offset"] :].startswith((clips / file["path"]).read_bytes())
        assert row["mtime_ns"] == (shards / "s-0.tar").stat().st_mtime_ns
    assert counts(scan(shards, out=tmp_path / "index.parquet")) == (0, 0, 9, 0, 0)
    by_name = scan(shards / "s-0.tar", out=tmp_path / "one.parquet").index
    assert by_name.roots == [str(shards)]
    assert len(by_name) == 4
    os.utime(shards / "s-0.tar", ns=(0, 1))
    assert counts(scan(shards, out=tmp_path / "index.parquet")) == (0, 4, 5, 0, 3)


# What a scan survives.


def test_a_crashing_decoder_costs_the_file_it_crashed_on(
    tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(path: str, section: object = None) -> Measurement:
        if "3.wav" in path:
            os._exit(11)
        if "4.wav" in path:
            os.kill(os.getpid(), signal.SIGKILL)
        if "5.wav" in path:
            raise RuntimeError("what now?")
        return measure(path)

    with monkeypatch.context() as patch:
        patch.setattr(scanning, "measure", crash)
        result = scan(clips, out=tmp_path / "index.parquet")
    assert {path: error for path, error in errors(result.index).items() if error} == {
        "b/3.wav": "unreadable: the decoder crashed on it",
        "a/4.wav": "unreadable: the decoder crashed on it",
        "b/5.wav": "unreadable: RuntimeError: what now?",
    }
    assert counts(scan(clips, out=tmp_path / "index.parquet")) == (0, 0, 6, 0, 3)
    assert AudioIndex.read(tmp_path / "index.parquet").problems() == []


SLOW = """
import sys, time
from byol_a.data.scan import scan as scanning
from byol_a.cli import main
quick = scanning.measure
def slow(path, section=None):
    time.sleep(0.02)
    return quick(path, section)
scanning.measure, scanning._CHUNK_FILES, scanning.COMMIT_SECONDS = slow, 3, 0.05
main(["scan", *sys.argv[1:]])
"""


@contextlib.contextmanager
def slow_scan(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A scan in a process of its own that takes a while over each file and commits often."""
    command = [sys.executable, "-c", SLOW, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_parts(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while len(list(folder.glob("[0-9]*.parquet"))) < count:
        assert process.poll() is None, process.communicate(timeout=20)
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_killed_scan_goes_on_where_it_was(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    clips, out = tmp_path / "clips", tmp_path / "index.parquet"
    parts = tmp_path / ".index.parquet.parts"
    for number in range(150):
        write_wav(clips / f"{number:03d}.wav", seconds=0.05, seed=number)
    done = 0
    for kill in range(3):
        with slow_scan(clips, "--out", out, "--workers", 2) as process:
            wait_for_parts(parts, kill * 3 + 3, process)
            process.kill()
        assert not out.exists()
        (parts / ".000099.parquet.1.partial").write_bytes(b"half a part")
        kept = [AudioIndex.read(path) for path in sorted(parts.glob("[0-9]*.parquet"))]
        assert all(len(part) for part in kept)
        names = [name for part in kept for name in part.names()]
        assert len(names) == len(set(names))  # what was read is not read again
        assert len(names) > done
        done = len(names)
    (parts / "000000.parquet").write_bytes(b"a damaged part")
    result = scan(clips, out=out)
    assert counts(result) == (150, 0, 0, 0, 150 - done + len(kept[0]))
    assert 0 < result.read < 150
    assert not parts.exists()
    assert result.index.table.equals(scan(clips, out=tmp_path / "fresh.parquet").index.table)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_scan_keeps_what_it_has(tmp_path: Path, clips: Path, number: signal.Signals) -> None:
    for copy in range(20):
        shutil.copytree(clips, tmp_path / "many" / str(copy))
    out = tmp_path / "index.parquet"
    with slow_scan(tmp_path / "many", "--out", out, "--workers", 2) as process:
        wait_for_parts(tmp_path / ".index.parquet.parts", 1, process)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    last = said.splitlines()[-1]
    assert last.startswith(f"byol-a: error: the scan was stopped by {number.name} with ")
    n_done = int(last.partition(" with ")[2].split()[0])
    assert 0 < n_done < 120
    assert not out.exists()
    assert counts(scan(tmp_path / "many", out=out)) == (120, 0, 0, 0, 120 - n_done)


def test_what_arrives_with_the_stop_is_kept(tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(function: Callable[..., Measurement], chunks: Iterable[list[Any]], workers: int) -> Iterator[Any]:
        for chunk in chunks:
            signal.raise_signal(signal.SIGTERM)
            yield chunk, [function(item) for item in chunk]

    monkeypatch.setattr(scanning, "_CHUNK_FILES", 2)
    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="with 2 of 6 files done"):
        patch.setattr(scanning, "map_chunks", stopped)
        scan(clips, out=tmp_path / "index.parquet")
    assert counts(scan(clips, out=tmp_path / "index.parquet")) == (6, 0, 0, 0, 4)


def test_reading_everything_again_goes_on_after_a_kill_too(tmp_path: Path, clips: Path) -> None:
    for copy in range(10):
        shutil.copytree(clips, tmp_path / "many" / str(copy))
    out = tmp_path / "index.parquet"
    scan(tmp_path / "many", out=out)
    with slow_scan(tmp_path / "many", "--out", out, "--all", "--workers", 2) as process:
        wait_for_parts(tmp_path / ".index.parquet.parts", 2, process)
        process.kill()
    result = scan(tmp_path / "many", out=out, rescan=True)
    assert (result.new, result.changed, result.unchanged, result.gone) == (0, 0, 60, 0)
    assert 0 < result.read < 60
    assert scan(tmp_path / "many", out=out, rescan=True).read == 60


def test_one_scan_at_a_time(tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for copy in range(6):
        shutil.copytree(clips, tmp_path / "many" / str(copy))
    out = tmp_path / "index.parquet"
    monkeypatch.setattr(lock, "PATIENCE_SECONDS", 0.1)
    with slow_scan(tmp_path / "many", "--out", out, "--workers", 1) as process:
        wait_for_parts(tmp_path / ".index.parquet.parts", 1, process)
        with pytest.raises(UsageError, match="another process is scanning into"):
            scan(tmp_path / "many", out=out)
        assert process.poll() is None
        scan(clips, out=tmp_path / "other.parquet")
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert counts(scan(tmp_path / "many", out=out)) == (0, 0, 36, 0, 0)


def test_a_full_disk_leaves_the_parts_before_it(tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "index.parquet"

    def full(path: Path) -> contextlib.AbstractContextManager[Path]:
        if Path(path) == out:
            raise OSError(28, "No space left on device", str(out))
        return atomic_file(path)

    sentence = r"the disk of .*index.parquet is full \(6 files are scanned, and kept\); make room, and run"
    with monkeypatch.context() as patch, pytest.raises(ByolaError, match=sentence):
        patch.setattr("byol_a.data.index.atomic_file", full)
        scan(clips, out=out)
    assert not out.exists()
    assert counts(scan(clips, out=out)) == (6, 0, 0, 0, 0)


def test_a_disk_that_gets_full(tmp_path: Path, small_disk: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = small_disk / "new" / "index.parquet"
    monkeypatch.setattr(scanning, "_CHUNK_FILES", 1)
    monkeypatch.setattr(scanning, "COMMIT_FILES", 1)
    # Room for a part or two, and then none.
    (small_disk / "other").write_bytes(bytes(3 * (1 << 20) - 6 * 4096))
    with pytest.raises(
        ByolaError, match=r"the disk of .*index.parquet is full \(\d files are scanned, and kept\)"
    ) as caught:
        scan(clips, out=out)
    kept = int(str(caught.value).partition("full (")[2][0])
    assert not out.exists()
    assert 0 < kept < 6
    (small_disk / "other").unlink()
    assert counts(scan(clips, out=out)) == (6, 0, 0, 0, 6 - kept)
    assert [path.name for path in out.parent.iterdir()] == ["index.parquet"]


def test_a_worker_needs_no_torch() -> None:
    script = "import sys, byol_a.data.scan.scan; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=120).returncode == 0
