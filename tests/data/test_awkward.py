"""Every command on the corpus of awkward audio: the right counts and reasons, no hang, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from byol_a import BYOLA, FrontendConfig, NormStats
from byol_a.cli import main
from byol_a.data.files import find_audio
from byol_a.data.index import AudioIndex
from byol_a.data.io import audio_info, read_audio, read_segment, stream_audio
from byol_a.data.report import FileReport
from byol_a.data.store.audio_store import AudioStore
from byol_a.errors import AudioError
from byol_a.store import read_store
from tests.awkward import (
    LONGEST_NAME,
    UNSEEN,
    USABLE,
    Case,
    clear,
    counts,
    encoded,
    sound,
    write_corpus,
    write_sparse_rf64,
)
from tests.training.small import RECIPE, byol_a, losses


class Corpus:
    """The folder, what was written there, and what is expected of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cases = write_corpus(folder)
        self.counts = counts(self.cases)
        self.usable = self.counts.pop(USABLE)

    @property
    def unusable(self) -> list[Case]:
        return [case for case in self.cases if case.fate not in (USABLE, UNSEEN)]

    def check(self, problems: list[tuple[str, str]]) -> None:
        """Exactly the unusable files are named, each with a reason of its kind."""
        found = {os.path.relpath(path, self.folder): reason for path, reason in problems}
        assert found.keys() == {case.name for case in self.unusable}
        for case in self.unusable:
            assert found[case.name].startswith(case.fate), case


def sentence(kinds: Counter[str]) -> str:
    """How a report puts it: "5 files could not be used: 3 truncated, 2 empty"."""
    parts = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return "files could not be used: " + ", ".join(f"{count} {kind}" for kind, count in parts)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """A command that does not fail, and complains in sentences."""
    done = byol_a(*arguments)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr
    return done


def called(*arguments: object) -> int | str | None:
    """The exit code of a command that is run in this process."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    folder = tmp_path_factory.mktemp("awkward") / "corpus"
    folder.mkdir()
    yield Corpus(folder)
    clear(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model"
    BYOLA("AudioNTT2022", {"hidden_dim": 8}, FrontendConfig(n_mels=16), NormStats(-7.0, 4.0)).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def index(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("index") / "index.parquet"
    done = run("scan", corpus.folder, "--out", path)
    assert f"{corpus.usable + corpus.counts.total()} files, {corpus.usable} usable" in done.stdout
    return path


@pytest.fixture(scope="module")
def store(corpus: Corpus, index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "store"
    done = run("pack", index, "--out", path, "--verify")
    assert sentence(corpus.counts) in done.stderr
    assert f"{corpus.usable} clips are as packed" in done.stdout
    return path


def test_the_corpus_is_made_by_a_command(tmp_path: Path) -> None:
    made = tmp_path / "made"
    done = subprocess.run(
        [sys.executable, "-m", "tests.awkward", made], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert len(list(made.iterdir())) > 50
    assert "a named pipe, from which nothing will ever come" in done.stdout
    clear(made)


def test_the_corpus_is_whole(corpus: Corpus) -> None:
    names = [case.name for case in corpus.cases]
    assert len(set(names)) == len(names) > 50
    assert max(len(os.fsencode(path.name)) for path in corpus.folder.iterdir()) == LONGEST_NAME


def test_the_reader(corpus: Corpus) -> None:
    report = FileReport()
    files = find_audio([corpus.folder], report)
    for path in files:
        try:
            wave = read_audio(path)
        except AudioError as error:
            report.add(path, error.reason)
            continue
        assert wave.dtype == np.float32 and np.isfinite(wave).all() and np.abs(wave).max() <= 1
        assert len(np.concatenate(list(stream_audio(path)))) == len(wave)
    corpus.check(report.items())
    assert len(files) - sum(str(path) in report for path in files) == corpus.usable


def test_embed(corpus: Corpus, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    done = run("embed", model, corpus.folder, "--out", out)
    assert sentence(corpus.counts) in done.stderr
    found = read_store(out)
    assert found.provenance["counts"]["files"] == corpus.usable == len(set(found.rows["file"].to_pylist()))
    assert np.isfinite(found.embeddings).all()
    corpus.check(FileReport.read(out / "bad_files.csv").items())
    again = run("embed", model, corpus.folder, "--out", out)
    assert f"embeddings of {corpus.usable} files" in again.stdout


def test_embed_of_files_given_by_name(corpus: Corpus, model: Path, tmp_path: Path) -> None:
    """Whatever is named is tried, hidden files and other extensions among them."""
    odd = ["pipe.wav", "device.wav", "socket.wav", "notes.txt", ".hidden.wav", "two\nlines.wav", " .wav", "--out.wav"]
    odd = [name for name in odd if name == "notes.txt" or name in {case.name for case in corpus.cases}]
    done = run("embed", model, *(corpus.folder / name for name in odd), "--out", tmp_path / "store")
    assert "embeddings of 4 files" in done.stdout
    reasons = {Path(path).name: reason for path, reason in FileReport.read(tmp_path / "store/bad_files.csv").items()}
    assert reasons.pop("notes.txt").startswith("not audio")
    assert {"pipe.wav", "device.wav"} <= reasons.keys()
    assert set(reasons.values()) == {"unreadable: not a regular file"}


@pytest.mark.parametrize("name", ["two\nlines\x1b[31m.wav", "caf\udce9.flac"])
def test_an_error_about_an_odd_name_is_one_line(
    corpus: Corpus, model: Path, tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert called("embed", model, corpus.folder / name, "--out", tmp_path / "store") == 2
    said = capfd.readouterr().err
    assert "does not exist" in said and len(said.splitlines()) == 1 and "\x1b" not in said


def test_a_pipe_alone_is_a_failure(
    corpus: Corpus, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert called("embed", model, corpus.folder / "pipe.wav", "--out", tmp_path / "store") == 1
    assert "1 of 1 file could not be used: 1 unreadable" in capfd.readouterr().err.splitlines()[-1]


def test_scan(corpus: Corpus, index: Path) -> None:
    found = AudioIndex.read(index)
    corpus.check(found.problems())
    assert len(found) == corpus.usable + corpus.counts.total()
    again = run("scan", corpus.folder, "--out", index)
    assert f"0 new, 0 changed, {len(found)} unchanged, 0 gone" in again.stdout
    corpus.check(AudioIndex.read(index).problems())


def test_pack(corpus: Corpus, store: Path) -> None:
    packed = AudioStore.open(store)
    corpus.check(FileReport.read(store / "bad_files.csv").items())
    assert len(packed) == corpus.usable
    for row in range(len(packed)):
        name = packed.index.name(row)
        expected = read_audio(name)
        samples = packed.read(int(packed.starts[row]), int(packed.lengths[row]))
        np.testing.assert_allclose(samples / 32767, expected, atol=2e-5, err_msg=ascii(name))


@pytest.mark.parametrize("source", ["folder", "index", "store"])
def test_pretrain(
    corpus: Corpus, recipe: Path, index: Path, store: Path, tmp_path: Path, source: str, request: pytest.FixtureRequest
) -> None:
    data = {"folder": corpus.folder, "index": index, "store": store}[source]
    out = tmp_path / "run"
    done = run("pretrain", "--recipe", recipe, "--data", data, "--out", out, "--steps", 40)
    assert len(losses(out)) == 40
    assert np.isfinite(list(losses(out).values())).all()
    if source == "store":
        assert not (out / "bad_files.csv").exists()
    else:
        assert sentence(corpus.counts) in done.stdout
        corpus.check(FileReport.read(out / "bad_files.csv").items())


@pytest.fixture(scope="module")
def classes(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """The corpus as one of two classes, and the size of the other one."""
    root = tmp_path_factory.mktemp("classes")
    (root / "odd").mkdir()
    write_corpus(root / "odd")
    (root / "plain").mkdir()
    for number in range(1, 21):
        (root / "plain" / f"{number}.wav").write_bytes(encoded(wave=sound() * number / 20))
    yield root, 20
    clear(root / "odd")


def test_evaluate(corpus: Corpus, classes: tuple[Path, int], model: Path, tmp_path: Path) -> None:
    root, plain = classes
    done = run("evaluate", model, "--task", "folder", "--data", root, "--out", tmp_path / "scores", "--no-cache")
    # A walk tells links to nothing, pipes and the like; what may not be read is found out by reading.
    by_content = corpus.counts - Counter({kind: corpus.counts[kind] for kind in ("unreadable", "unsupported")})
    by_content += counts(case for case in corpus.unusable if case.name == "forbidden.wav")
    by_name = corpus.counts - by_content
    assert f"{by_name.total()} {sentence(by_name)}" in done.stderr
    total = corpus.usable + by_content.total() + plain
    assert f"{by_content.total()} of {total} {sentence(by_content)}" in done.stderr
    (named,) = (tmp_path / "scores").rglob("unusable-files.csv")
    assert len(named.read_text(encoding="utf-8", errors="surrogateescape").splitlines()) >= by_content.total()


def test_evaluate_does_not_wait_for_a_pipe_in_a_table(
    classes: tuple[Path, int], model: Path, tmp_path: Path, corpus: Corpus
) -> None:
    root, _ = classes
    rows = [f"plain/{number}.wav,{number % 2}" for number in range(1, 13)]
    odd = ["odd/pipe.wav", "odd/device.wav", "odd/dangling.wav", "odd/circle.wav", "odd/half.wav", "odd", "gone.wav"]
    (tmp_path / "table.csv").write_text("\n".join(["file_name,label", *rows, *(f"{name},0" for name in odd)]))
    table = ("--csv", tmp_path / "table.csv", "--cache", tmp_path / "cache")
    done = run("evaluate", model, "--task", "folder", "--data", root, *table)
    assert "7 of 19 files could not be used: 6 unreadable, 1 truncated" in done.stderr


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder of sounds with a name that is not UTF-8."""
    folder = tmp_path / "caf\udce9"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    for number in range(3):
        (folder / f"{number}.wav").write_bytes(encoded(wave=sound() / (number + 1)))
    return folder


def test_folders_whose_names_are_not_utf8(foreign: Path, model: Path, recipe: Path) -> None:
    """As inputs and as outputs."""
    out = {name: foreign.with_name(f"{name}-\udce9") for name in ("packed", "store", "run")}
    out["index"] = foreign.with_name("index-\udce9.parquet")
    names = {str(path) for path in foreign.iterdir()}
    commands = [
        ("scan", foreign, "--out", out["index"], "--workers", 1),
        ("pack", out["index"], "--out", out["packed"], "--workers", 1, "--verify"),
        ("embed", model, foreign, "--out", out["store"], "--export", "csv"),
        ("embed", model, foreign, "--out", out["store"], "--export", "npz"),
        ("pretrain", "--recipe", recipe, "--data", foreign, "--out", out["run"], "--steps", 2),
        ("pretrain", "--resume", "--out", out["run"], "--steps", 3),
    ]
    for command in commands:
        # Not in this process: the names are printed too, and pytest could not keep what is no text.
        line = [sys.executable, "-m", "byol_a", *map(str, command)]
        done = subprocess.run(line, capture_output=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
    assert set(AudioIndex.read(out["index"]).names()) == names
    assert set(AudioStore.open(out["packed"]).index.names()) == names
    assert len(read_store(out["store"])) == 3
    assert BYOLA.from_pretrained(out["run"] / "model").provenance["data"] == [str(foreign)]


def test_a_wav_beyond_4_gb(tmp_path: Path) -> None:
    path = tmp_path / "huge.wav"
    frames = write_sparse_rf64(path)
    if path.stat().st_blocks * 512 > 1 << 24:
        pytest.skip("this file system does not leave out the holes of a file")
    info = audio_info(path)
    assert info.frames == frames and 2 * frames > 2**32
    end = frames // 2  # at 16 kHz
    assert np.abs(read_segment(path, end - 16000, 16000)).max() > 0.2
    assert np.abs(read_segment(path, end // 2, 16000)).max() == 0
    assert len(read_segment(path, end - 100, 16000)) == 100
