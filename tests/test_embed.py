"""Embedding folders into a store: levels, windows, resuming, refusing, and bad files."""

from __future__ import annotations

import csv
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from byol_a import BYOLA, ByolaError, UsageError, inputs, read_store, store_writer
from byol_a.cli.embed import embed as command
from byol_a.embed import Windows, embed, windowed
from tests.test_model import small_model


@pytest.fixture(scope="module")
def model() -> BYOLA:
    return small_model()


@pytest.fixture
def audio(tmp_path, write_wav) -> Path:
    folder = tmp_path / "audio"
    for index, seconds in enumerate((0.5, 2.0, 1.2, 3.0)):
        write_wav(folder / f"{index}.wav", seconds, seed=index)
    write_wav(folder / "deep" / "rate.wav", 1.0, sample_rate=22050)
    return folder


def run(model, inputs, out, **options):
    return embed(model, [inputs], out, progress=False, **options)


def test_clips(model, audio, tmp_path):
    found = run(model, audio, tmp_path / "store")
    files = found.rows["file"].to_pylist()
    assert files == sorted(str(path) for path in audio.rglob("*.wav"))
    np.testing.assert_allclose(found.embeddings, model.encode(files), atol=1e-5)
    np.testing.assert_allclose(found.rows["end_s"].to_numpy(), [0.5, 2.0, 1.2, 3.0, 1.0], atol=1e-4)
    assert found.rows["start_s"].to_pylist() == [0.0] * 5
    assert isinstance(found.embeddings, np.memmap) and found.embeddings.dtype == np.float32
    assert found.provenance["counts"] == {"files": 5, "rows": 5, "bad_files": 0, "changed_files": 0}
    assert found.provenance["model_config"] == model.config
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == [
        ".lock",
        "bad_files.csv",
        "embeddings.npy",
        "files.parquet",
        "provenance.json",
        "rows.parquet",
    ]
    again = read_store(tmp_path / "store")
    assert again.rows.equals(found.rows) and len(again) == 5


@pytest.mark.parametrize("long_seconds", [60.0, 0.9])
def test_frames(model, audio, tmp_path, monkeypatch, long_seconds):
    expected = {str(p): model.encode(p, level="frame") for p in audio.rglob("*.wav")}
    monkeypatch.setattr(inputs, "LONG_SECONDS", long_seconds)
    found = run(model, audio, tmp_path / "store", level="frame", matrix_format="safetensors")
    names = np.array(found.rows["file"].to_pylist())
    start, end = found.rows["start_s"].to_numpy(), found.rows["end_s"].to_numpy()
    for file, frames in expected.items():
        rows = names == file
        np.testing.assert_allclose(found.embeddings[rows], frames, atol=1e-5)
        np.testing.assert_allclose(start[rows], np.arange(len(frames)) * 0.04, atol=1e-9)
        assert (end[rows] > start[rows]).all()


@pytest.mark.parametrize("long_seconds", [60.0, 0.9])
def test_windows(model, audio, tmp_path, monkeypatch, long_seconds):
    from byol_a import read_audio

    monkeypatch.setattr(inputs, "LONG_SECONDS", long_seconds)
    found = run(model, audio, tmp_path / "store", window=0.8, hop=0.3, batch_size=3)
    rows = found.rows.to_pylist()
    per_file = {str(path): [r for r in rows if r["file"] == str(path)] for path in audio.rglob("*.wav")}
    assert [len(per_file[str(audio / f"{i}.wav")]) for i in range(4)] == [1, 5, 3, 9]
    waves = [read_audio(row["file"])[round(row["start_s"] * 16000) : round(row["end_s"] * 16000)] for row in rows]
    np.testing.assert_allclose(found.embeddings, model.encode(waves), atol=1e-5)


def test_window_spans():
    def spans(samples, size=10, hop=4):
        return Windows(size, hop).spans(samples)

    assert spans(3) == [(0, 3)]
    assert spans(10) == [(0, 10)]
    assert spans(12) == [(0, 10), (4, 12)]
    assert spans(18) == [(0, 10), (4, 14), (8, 18)]
    assert Windows(10, 10).spans(14) == [(0, 10)], "less than half a window is left out"
    assert Windows(10, 10).spans(15) == [(0, 10), (10, 15)]
    assert Windows(4, 10).spans(30) == [(0, 4), (10, 14), (20, 24)]
    signal = np.arange(50, dtype=np.float32)
    for windows in (Windows(10, 4), Windows(4, 10), Windows(7, 7)):
        blocks = np.split(signal, [1, 2, 17, 30])
        for (start, end), samples in windowed(blocks, windows.spans(50)):
            np.testing.assert_array_equal(samples, signal[start:end])


def test_extends_and_skips_what_is_done(model, audio, tmp_path, write_wav, monkeypatch):
    first = run(model, audio, tmp_path / "store")
    kept = np.array(first.embeddings)
    write_wav(audio / "0new.wav", 0.7, seed=9)
    seen: list[str] = []
    real = inputs.load
    monkeypatch.setattr("byol_a.embed.load", lambda path, *rest: seen.append(path.name) or real(path, *rest))
    second = run(model, audio, tmp_path / "store")
    assert seen == ["0new.wav"]
    np.testing.assert_array_equal(second.embeddings[:5], kept)
    assert second.rows["file"].to_pylist()[5:] == [str(audio / "0new.wav")]
    np.testing.assert_allclose(second.embeddings[5], model.encode(audio / "0new.wav"), atol=1e-5)
    assert second.provenance["counts"]["files"] == 6
    third = run(model, audio, tmp_path / "store")
    assert third.rows.equals(second.rows) and seen == ["0new.wav"]


def test_other_settings_are_refused(model, audio, tmp_path):
    run(model, audio, tmp_path / "store")
    for options, what in (
        ({"level": "frame"}, "level"),
        ({"window": 1.0}, "window seconds"),
        ({"precision": "bf16"}, "precision"),
        ({"matrix_format": "safetensors"}, "format"),
    ):
        with pytest.raises(UsageError, match=f"made with another {what}"):
            run(model, audio, tmp_path / "store", **options)
    with pytest.raises(UsageError, match="made with another model"):
        run(small_model(seed=1), audio, tmp_path / "store")
    anew = run(small_model(seed=1), audio, tmp_path / "store", overwrite=True)
    assert len(anew) == 5


def test_never_writes_into_another_folder(model, audio, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("precious")
    for overwrite, message in ((False, "exists already"), (True, "not an embedding store, so --overwrite does not")):
        with pytest.raises(UsageError, match=message):
            run(model, audio, tmp_path / "other", overwrite=overwrite)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop": 1.0}, "a hop needs a window"),
        ({"window": 1.0, "level": "frame"}, "--window goes with --level clip"),
        ({"window": 0.0}, "positive lengths"),
        ({"window": 1.0, "hop": -1.0}, "positive lengths"),
        ({"batch_size": 0}, "at least 1"),
        ({"level": "layers"}, "clip or frame"),
    ],
)
def test_options_that_do_not_fit(model, audio, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        run(model, audio, tmp_path / "store", **options)
    assert not (tmp_path / "store").exists()


def test_bad_files(model, audio, tmp_path, write_wav, monkeypatch):
    (audio / "1.wav").write_bytes((audio / "1.wav").read_bytes()[:9000])  # truncated
    (audio / "2.wav").write_bytes(b"")
    found = run(model, audio, tmp_path / "store")
    assert len(found) == 3 and found.provenance["counts"]["bad_files"] == 2
    with (tmp_path / "store" / "bad_files.csv").open() as stream:
        reasons = {Path(row["path"]).name: row["reason"] for row in csv.DictReader(stream)}
    assert reasons["1.wav"].startswith("truncated") and reasons["2.wav"] == "empty"
    write_wav(audio / "2.wav", 1.0)  # repaired: taken in next time
    assert len(run(model, audio / "2.wav", tmp_path / "store")) == 4
    with (tmp_path / "store" / "bad_files.csv").open() as stream:
        assert sorted(Path(row["path"]).name for row in csv.DictReader(stream)) == ["1.wav", "2.wav"][:1]


def test_a_long_file_that_fails_halfway_leaves_no_rows(model, audio, tmp_path, monkeypatch):
    """Its header is whole, so that the fault shows only after blocks have been embedded and written."""
    from byol_a.errors import AudioError

    monkeypatch.setattr(inputs, "LONG_SECONDS", 0.9)
    real = inputs.stream_audio

    def failing(path, rate, seconds):
        blocks = real(path, rate, 0.5)
        yield next(blocks)
        yield next(blocks)
        if Path(path).name == "1.wav":
            raise AudioError(path, "truncated: in the middle")
        yield from blocks

    monkeypatch.setattr(inputs, "stream_audio", failing)
    monkeypatch.setattr("byol_a.embed.CHUNK_SECONDS", 0.2)
    found = run(model, audio, tmp_path / "store", level="frame")
    names = found.rows["file"].to_pylist()
    assert str(audio / "1.wav") not in names and len(set(names)) == 4
    frames = np.concatenate([model.encode(path, level="frame") for path in dict.fromkeys(names)])
    np.testing.assert_allclose(found.embeddings, frames, atol=1e-5)


def test_no_usable_file(model, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"")
    with pytest.raises(ByolaError, match="no file could be embedded: 1 of 1 file could not be used: 1 empty") as e:
        run(model, tmp_path / "bad.wav", tmp_path / "store")
    assert e.value.exit_code == 1
    with pytest.raises(UsageError, match="not finished"):
        read_store(tmp_path / "store")
    with pytest.raises(UsageError, match="is not an embedding store"):
        read_store(tmp_path)


def dying_at(stop_at):
    """`dying(function)` is that function; of all calls to all of them together, number `stop_at` is a kill."""
    count = itertools.count(1)

    def dying(real):
        def call(*args, **kwargs):
            if next(count) == stop_at:
                raise KeyboardInterrupt
            return real(*args, **kwargs)

        return call

    return dying


def test_killed_while_joining_the_parts(model, audio, tmp_path, monkeypatch):
    """Whatever step of the joining is the last one done, the next run ends with the same store."""
    whole = run(model, audio, tmp_path / "whole")
    steps = 0
    for stop_at in range(1, 11):
        out = tmp_path / f"store{stop_at}"
        run(model, audio / "0.wav", out)
        monkeypatch.setattr(store_writer, "PART_SECONDS", 0.0)
        dying = dying_at(stop_at)
        with monkeypatch.context() as patch:
            for name in ("atomic_file", "write_json"):
                patch.setattr(store_writer, name, dying(getattr(store_writer, name)))
            patch.setattr(store_writer.shutil, "rmtree", dying(store_writer.shutil.rmtree))
            patch.setattr(store_writer.shutil, "copyfileobj", dying(store_writer.shutil.copyfileobj))
            try:
                run(model, audio, out)
            except KeyboardInterrupt:
                steps += 1
        finished = run(model, audio, out)
        order = np.argsort(finished.rows["file"].to_pylist())
        assert finished.rows.take(order).to_pylist() == whole.rows.to_pylist()
        np.testing.assert_allclose(finished.embeddings[order], whole.embeddings, atol=1e-5)
        assert not (out / "parts").exists()
    assert steps >= 8


SLOW = """
import sys, time
from byol_a import BYOLA, inputs, store_writer
store_writer.PART_SECONDS = 0.0
inputs.GROUP_SIZE = 2
real = store_writer.StoreWriter.add
def slowly(self, file, *rest):
    real(self, file, *rest)
    print(file, flush=True)
    time.sleep(0.2)
store_writer.StoreWriter.add = slowly
from byol_a.embed import embed
embed(BYOLA.from_pretrained(sys.argv[1]), [sys.argv[2]], sys.argv[3], progress=False)
"""


def test_sigkill_and_resume(model, tmp_path, write_wav):
    for index in range(20):
        write_wav(tmp_path / "audio" / f"{index:02d}.wav", 0.3 + 0.05 * index, seed=index)
    model.save_pretrained(tmp_path / "model")
    arguments = [str(tmp_path / name) for name in ("model", "audio", "store")]
    process = subprocess.Popen([sys.executable, "-c", SLOW, *arguments], stdout=subprocess.PIPE, text=True)
    written = [process.stdout.readline() for _ in range(5)]
    os.kill(process.pid, signal.SIGKILL)
    process.wait(20)
    process.stdout.close()
    assert all(written)
    with pytest.raises(UsageError, match="not finished"):
        read_store(tmp_path / "store")
    parts = len(list((tmp_path / "store" / "parts").glob("*.parquet")))
    assert 4 <= parts < 20
    found = run(model, tmp_path / "audio", tmp_path / "store")
    whole = run(model, tmp_path / "audio", tmp_path / "whole")
    assert found.rows.to_pylist() == whole.rows.to_pylist()
    np.testing.assert_allclose(found.embeddings, whole.embeddings, atol=1e-5)


def test_command(model, audio, tmp_path):
    model.save_pretrained(tmp_path / "model")
    (audio / "bad.wav").write_bytes(b"RIFF")
    out = tmp_path / "store"
    arguments = [str(tmp_path / "model"), str(audio), "--out", str(out), "--device", "cpu"]
    result = CliRunner().invoke(command, [*arguments, "--export", "csv"])
    assert result.exit_code == 0, result.output
    assert "5 embeddings of 5 files, D = 1040" in result.output
    assert "1 file could not be used: 1 not audio; see" in result.output
    found = read_store(out)
    with (out / "embeddings.csv").open() as stream:
        rows = list(csv.reader(stream))
    assert rows[0][:4] == ["file", "start_s", "end_s", "e0"] and len(rows) == 6
    np.testing.assert_allclose(np.array([row[3:] for row in rows[1:]], float), found.embeddings, rtol=1e-5)
    result = CliRunner().invoke(command, [*arguments, "--export", "npz"])
    assert result.exit_code == 0, result.output
    with np.load(out / "embeddings.npz") as archive:
        assert archive["files"][archive["file_index"]].tolist() == found.rows["file"].to_pylist()
        np.testing.assert_array_equal(archive["embeddings"], found.embeddings)
    assert found.to_pandas().shape == (5, 3)
    result = CliRunner().invoke(command, [str(tmp_path / "nowhere"), str(audio), "--out", str(out)])
    assert isinstance(result.exception, UsageError) and "no model folder" in str(result.exception)
    result = CliRunner().invoke(command, [*arguments[:4], "--device", "abacus"])
    assert isinstance(result.exception, UsageError) and "unknown device 'abacus'" in str(result.exception)


def test_real_audio(model, real_data, tmp_path):
    files = sorted((real_data / "esc10" / "audio").glob("*.ogg"))[:2]
    files += sorted((real_data / "fsdd").rglob("*.wav"))[:2] + sorted((real_data / "nsynth-mini").rglob("*.wav"))[:2]
    found = embed(model, files, tmp_path / "store", progress=False)
    assert len(found) == 6 and np.isfinite(found.embeddings).all()


def test_an_interrupt_keeps_what_was_embedded(model, audio, tmp_path, monkeypatch):
    real = store_writer.StoreWriter.add

    def interrupted(self, file, stamp, pieces):
        if len(self.done) == 3:
            real(self, file, stamp, (_ for _ in ()).throw(KeyboardInterrupt))
        real(self, file, stamp, pieces)

    monkeypatch.setattr(store_writer.StoreWriter, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(model, audio, tmp_path / "store")
    assert len(list((tmp_path / "store" / "parts").glob("*.parquet"))) == 1
    monkeypatch.setattr(store_writer.StoreWriter, "add", real)
    found = run(model, audio, tmp_path / "store")
    np.testing.assert_allclose(found.embeddings, model.encode(found.rows["file"].to_pylist()), atol=1e-5)


def test_file_names_that_are_not_utf8(model, tmp_path, write_wav):
    path = write_wav(tmp_path / "plain.wav", 0.5)
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    try:
        path.rename(odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    for _ in range(2):  # the second time it is known as done
        found = run(model, tmp_path, tmp_path / "store", export="csv")
        assert found.rows["file"].to_pylist() == [str(tmp_path / r"caf\xe9.wav")]


def test_the_same_file_is_one_wherever_it_is_named_from(model, tmp_path, write_wav, monkeypatch):
    for folder in ("a", "b"):
        write_wav(tmp_path / folder / "audio" / "x.wav", 0.5)
    for folder, inputs_ in (("a", ["audio"]), ("b", ["audio", "audio/x.wav"]), ("b", [tmp_path / "b" / "audio"])):
        monkeypatch.chdir(tmp_path / folder)
        found = embed(model, inputs_, tmp_path / "store", progress=False)
    assert found.rows["file"].to_pylist() == [str(tmp_path / folder / "audio" / "x.wav") for folder in ("a", "b")]


def test_changed_files_are_told(model, audio, tmp_path, write_wav):
    model.save_pretrained(tmp_path / "model")
    arguments = [str(tmp_path / "model"), str(audio), "--out", str(tmp_path / "store"), "--device", "cpu"]
    assert "have changed" not in CliRunner().invoke(command, arguments).output
    write_wav(audio / "1.wav", 2.0, seed=77)  # as long as before
    os.utime(audio / "1.wav", ns=(0, 0))
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0
    assert "1 files have changed since they were embedded" in result.output and "--overwrite" in result.output
    result = CliRunner().invoke(command, [*arguments, "--overwrite"])
    assert result.exit_code == 0 and "have changed" not in result.output
    found = read_store(tmp_path / "store")
    np.testing.assert_allclose(found.embeddings[1], model.encode(audio / "1.wav"), atol=1e-5)
    assert "have changed" not in CliRunner().invoke(command, arguments).output


def test_changes_are_known_of_parts_too(model, audio, tmp_path, write_wav, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(store_writer.StoreWriter, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(model, audio, tmp_path / "store")
    write_wav(audio / "1.wav", 1.5)
    assert run(model, audio, tmp_path / "store").provenance["counts"]["changed_files"] == 1


def test_windows_hold_their_own_samples_only():
    blocks = [np.full(1000, i, np.float32) for i in range(50)]
    spans = [(start, start + 10) for start in range(0, 50_000, 5000)]
    for (start, end), samples in windowed(blocks, spans):
        assert samples.base is None and len(samples) == end - start
        np.testing.assert_array_equal(samples, np.full(10, start // 1000))


def test_blocks_before_a_window_are_dropped():
    import weakref

    alive: list[weakref.ref] = []

    def made():
        for _ in range(40):
            block = np.zeros(100, np.float32)
            alive.append(weakref.ref(block))
            yield block

    windows = windowed(made(), [(0, 10), (3500, 3510)])
    next(windows)
    next(windows)
    assert sum(ref() is not None for ref in alive) <= 2


def test_exports_of_less_do_not_stay(model, audio, tmp_path, write_wav):
    out = tmp_path / "store"
    run(model, audio, out, export="csv")
    run(model, audio, out, export="npz")
    assert (out / "embeddings.csv").exists() and (out / "embeddings.npz").exists(), "nothing new: still right"
    write_wav(audio / "9.wav", 0.4)
    run(model, audio, out)
    assert not (out / "embeddings.csv").exists() and not (out / "embeddings.npz").exists()


def test_npz_has_each_name_once(model, tmp_path, write_wav):
    path = write_wav(tmp_path / ("long" * 40) / "x.wav", 4.0)
    run(model, path, tmp_path / "store", level="frame", export="npz")
    with np.load(tmp_path / "store" / "embeddings.npz") as archive:
        assert archive["files"].tolist() == [str(path)]
        assert archive["file_index"].tolist() == [0] * 100


@pytest.mark.parametrize("stop_at", range(1, 7))
def test_killed_while_making_or_replacing_a_store(model, audio, tmp_path, monkeypatch, stop_at):
    """The folder that is left is recognised by the next run."""
    for out, options in ((tmp_path / "new", {}), (tmp_path / "old", {"overwrite": True})):
        if options:
            run(model, audio / "0.wav", out)
        dying = dying_at(stop_at)
        with monkeypatch.context() as patch:
            patch.setattr(store_writer, "write_json", dying(store_writer.write_json))
            patch.setattr(Path, "mkdir", dying(Path.mkdir))
            patch.setattr(store_writer.shutil, "rmtree", dying(store_writer.shutil.rmtree))
            with pytest.raises(KeyboardInterrupt):
                run(model, audio, out, **options)
        assert len(run(model, audio, out)) == 5


def test_leftovers_of_a_kill_are_no_other_folder(model, audio, tmp_path):
    (tmp_path / "store" / "parts").mkdir(parents=True)
    (tmp_path / "store" / ".provenance.json.123.partial").write_text("{")
    assert len(run(model, audio, tmp_path / "store")) == 5
    (tmp_path / "other" / "parts").mkdir(parents=True)
    (tmp_path / "other" / "parts" / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="exists already"):
        run(model, audio, tmp_path / "other")


def test_one_process_writes_at_a_time(model, audio, tmp_path, monkeypatch):
    pytest.importorskip("fcntl")
    monkeypatch.setattr("byol_a.lock.PATIENCE_SECONDS", 0.1)
    holder = (
        "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); input()"
    )
    run(model, audio / "0.wav", tmp_path / "store")
    arguments = [sys.executable, "-c", holder, str(tmp_path / "store" / ".lock")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        other.stdout.readline()
        for overwrite in (False, True):
            with pytest.raises(UsageError, match="another process is writing"):
                run(model, audio, tmp_path / "store", overwrite=overwrite)
        other.communicate("\n", timeout=60)
    assert len(run(model, audio, tmp_path / "store")) == 5


def test_a_store_without_its_list_of_files(model, audio, tmp_path):
    run(model, audio, tmp_path / "store")
    (tmp_path / "store" / "files.parquet").unlink()
    with pytest.raises(ByolaError, match=r"files\.parquet is missing or damaged; make the store anew"):
        run(model, audio, tmp_path / "store")
    assert len(run(model, audio, tmp_path / "store", overwrite=True)) == 5
