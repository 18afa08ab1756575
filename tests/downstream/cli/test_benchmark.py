"""`byol-a benchmark`: what is finished stays, what fails does not stop the rest, and a kill costs one evaluation."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from downstream.results import read_cells
from tests.training.launched import is_running
from tests.training.small import byol_a


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Spoken digits and notes in small, in their sets' layouts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    rng, root, time_s = np.random.default_rng(0), tmp_path / "sets", np.arange(4000) / 8000

    def write(path: Path, pitch: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        wave = 0.3 * np.sin(2 * np.pi * pitch * rng.uniform(0.95, 1.05) * time_s) + 0.01 * rng.normal(size=4000)
        soundfile.write(path, wave, 8000)

    for digit in range(3):
        for speaker in ("ann", "bob", "cat"):
            for index in range(4):
                write(root / "digits" / "recordings" / f"{digit}_{speaker}_{index}.wav", 300 * 2**digit)
    for part in ("train", "valid", "test"):
        notes = {}
        for family, pitch in (("bass", 150), ("flute", 1500)):
            for number in range(6):
                name = f"{family}_{part}_{number:03d}-060-100"
                write(root / "notes" / f"nsynth-{part}" / "audio" / f"{name}.wav", pitch)
                notes[name] = {"instrument_family_str": family, "instrument_str": f"{family}_{part}", "pitch": 60}
        (root / "notes" / f"nsynth-{part}" / "examples.json").write_text(json.dumps(notes))
    return root


def benchmark(*arguments: object) -> subprocess.CompletedProcess[str]:
    return byol_a("benchmark", *arguments, "--device", "cpu", "--seeds", 1, "--set", "resamples=20")


def test_every_set_found_is_scored_once(sets: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (model, "--suite", "fsdd,nsynth,gtzan", "--data", sets, "--out", out, "--random-control")
    listed = benchmark(*arguments, "--list")
    assert listed.returncode == 0 and not out.exists()
    assert "gtzan" in listed.stdout and "not scored: no folder in" in listed.stdout

    done = benchmark(*arguments, "--logmel-control")
    assert done.returncode == 0, done.stderr
    assert "6 evaluations made, 0 kept" in done.stdout
    cells = {cell.folder: (cell.folder / "cell.json").stat().st_mtime_ns for cell in read_cells(out)}
    assert len(cells) == 6
    assert len((out / "scores.jsonl").read_text().splitlines()) == 6 * 2 * 4
    assert (out / "report.html").is_file() and (out / "report.md").is_file()
    (record,) = json.loads((out / "benchmark.json").read_text())["runs"]
    assert [task["name"] for task in record["tasks"]] == record["done"] == ["fsdd", "nsynth"]
    assert "gtzan" in record["not_found"] and not record["failures"] and "--logmel-control" in record["command"]

    quick = ("--set", "few-shot.shots=[1]", "--set", "few-shot.repeats=2")
    more = benchmark(*arguments, "logmel", "--protocol", "default", "--protocol", "few-shot", *quick)
    assert more.returncode == 0, more.stderr
    assert "6 evaluations made, 6 kept" in more.stdout  # few-shot of the same three embeddings, two tasks
    for folder, when in cells.items():
        assert (folder / "cell.json").stat().st_mtime_ns == when

    changed = benchmark("logmel", "--suite", "nsynth", "--data", sets, "--out", out, "--set", "k=3")
    assert "1 evaluation made, 0 kept" in changed.stdout  # other settings, other scores


def test_tasks_side_by_side_give_the_same(sets: Path, model: Path, tmp_path: Path) -> None:
    values = []
    for jobs in (1, 2):
        out = tmp_path / f"out{jobs}"
        done = benchmark(model, "--suite", "fsdd,nsynth", "--data", sets, "--out", out, "--no-cache", "--jobs", jobs)
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
        rows = [row for row in rows if row["metric"] == "accuracy"]
        values.append({(row["task"], row["probe"]): row["score"] for row in rows})
    assert values[0].keys() == values[1].keys()
    for key, value in values[0].items():
        assert value == pytest.approx(values[1][key], abs=1e-3), key


def test_a_task_that_fails_does_not_stop_the_others(sets: Path, model: Path, tmp_path: Path) -> None:
    (sets / "notes" / "nsynth-test" / "examples.json").write_text("{")
    out = tmp_path / "out"
    done = benchmark(model, "--suite", "nsynth,fsdd", "--data", sets, "--out", out)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()[-1]) < 400
    (record,) = json.loads((out / "benchmark.json").read_text())["runs"]
    assert [failure["name"] for failure in record["failures"]] == ["nsynth"]
    assert "examples.json" in record["failures"][0]["why"][0]
    assert [cell.about["task"]["name"] for cell in read_cells(out)] == ["fsdd"]
    assert (out / "report.html").is_file()


def test_other_audio_under_the_same_names_is_scored_again(sets: Path, tmp_path: Path) -> None:
    arguments = ("logmel", "--suite", "nsynth", "--data", sets, "--out", tmp_path / "out")
    assert "1 evaluation made, 0 kept" in benchmark(*arguments).stdout
    assert "0 evaluations made, 1 kept" in benchmark(*arguments).stdout
    flute, bass = (
        sets / "notes" / "nsynth-test" / "audio" / f"{name}_test_000-060-100.wav" for name in ("flute", "bass")
    )
    flute.write_bytes(bass.read_bytes())
    assert "1 evaluation made, 0 kept" in benchmark(*arguments).stdout
    predictions = next((tmp_path / "out").rglob("predictions.npz"))
    predictions.write_bytes(predictions.read_bytes()[:200])
    assert "1 evaluation made, 0 kept" in benchmark(*arguments).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("no/such/model",), "no model folder"),
        (("random:AudioNTT2023",), "AudioNTT2022"),
        (("logmel", "--set", "evar.lr=1"), "add --protocol evar"),
        (("logmel", "--set", "lr=1"), "unknown key 'lr'"),
        (("logmel", "--at", "esc50=."), "the suite has no task esc50"),
        (("logmel", "--at", "esc5=."), "did you mean"),
        (("logmel", "--protocol", "hear", "--seeds", "2"), "no seeds to count"),
    ],
)
def test_wrong_use_is_said_before_any_work(sets: Path, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = byol_a("benchmark", *arguments, "--suite", "fsdd, nsynth", "--data", sets, "--out", tmp_path / "out")
    assert done.returncode == 2 and words in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_place_for_results_is_asked_for_and_tried_first(sets: Path, tmp_path: Path) -> None:
    arguments = ("logmel", "--suite", "fsdd", "--data", sets)
    assert "--out FOLDER" in benchmark(*arguments).stderr
    (tmp_path / "file").touch()
    done = benchmark(*arguments, "--out", tmp_path / "file")
    assert done.returncode == 2 and "is a file" in done.stderr and "embedding" not in done.stderr
    assert "--data" in byol_a("benchmark", "logmel").stderr


def test_nothing_found_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = benchmark("logmel", "--suite", "esc50", "--data", tmp_path / "empty", "--out", tmp_path / "out")
    assert done.returncode == 1 and "no set was found" in done.stderr


def test_a_killed_benchmark_goes_on_where_it_was(sets: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "byol_a", "benchmark", str(model), "logmel", "random:AudioNTT2020"]
    command += ["--suite", "fsdd,nsynth", "--data", str(sets), "--out", str(out), "--device", "cpu", "--seeds", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=dict(os.environ))
    deadline = time.monotonic() + 120
    while not list(out.glob("cells/*/*/*/cell.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    kept = len(list(read_cells(out)))
    assert 1 <= kept < 6
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"{6 - kept} evaluation{'s' if 6 - kept > 1 else ''} made, {kept} kept" in done.stdout
    assert len(list(read_cells(out))) == 6


def test_the_processes_of_a_benchmark_end_with_it(sets: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "byol_a", "benchmark", str(model), "random:AudioNTT2022", "--suite", "fsdd,nsynth"]
    command += ["--data", str(sets), "--out", str(out), "--device", "cpu", "--jobs", "2", "--no-cache"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if "embedding" in line)  # a worker is at it
        children = [
            int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat") if parent_of(path) == process.pid
        ]
        try:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130 and children
    deadline = time.monotonic() + 30
    while any(map(is_running, children)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_running, children))


def parent_of(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:  # gone
        return -1


def test_the_report_can_be_written_anew(sets: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    benchmark("logmel", "--suite", "fsdd", "--data", sets, "--out", out)
    for name in ("report.html", "report.md", "scores.jsonl"):
        (out / name).unlink()
    done = byol_a("report", out)
    assert done.returncode == 0 and all((out / name).is_file() for name in ("report.html", "report.md", "scores.jsonl"))
    empty = byol_a("report", tmp_path)
    assert empty.returncode == 2 and "holds no results" in empty.stderr
