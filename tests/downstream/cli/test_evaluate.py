"""The command, end to end."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from byol_a.errors import UsageError
from downstream.cli.evaluate import evaluate


def run(*arguments: object) -> Result:
    return CliRunner().invoke(evaluate, [str(argument) for argument in arguments], catch_exceptions=False)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg"


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Two classes, a low tone and a high one, and two files that are no audio."""
    import numpy as np
    import soundfile

    folder, time = tmp_path / "sounds", np.arange(8000) / 16000
    rng = np.random.default_rng(0)
    for name, pitch in (("low", 200), ("high", 3000)):
        (folder / name).mkdir(parents=True)
        for index in range(10):
            wave = 0.3 * np.sin(2 * np.pi * pitch * rng.uniform(0.8, 1.2) * time) + 0.01 * rng.normal(size=8000)
            soundfile.write(folder / name / f"{index}.wav", wave, 16000)
        (folder / name / "bad.wav").write_text("this is not audio")
    return folder


def test_a_model_beside_its_controls(sounds: Path, model: Path, tmp_path: Path, cache_folder: Path) -> None:
    out = tmp_path / "out"
    arguments = (model, "--task", "folder", "--data", sounds, "--random-control", "--logmel-control", "--out", out)
    result = run(*arguments, "--random-seeds", 2, "--seeds", 2, "--device", "cpu")
    assert result.exit_code == 0
    assert "22 clips, 2 classes" in result.stdout and "random weights, 2 draws" in result.stdout
    assert "warning: no official split was given; made here: 5 stratified folds, seed 0" in result.stderr
    assert "2 of 22 files could not be used" in result.stderr

    assert result.stdout.count(", logistic: accuracy ") == result.stdout.count("Holm") == 2  # with each control
    rows = [row for row in rows_of(out) if row["metric"] == "accuracy"]
    assert sorted((row["control"] or "", row["weight_seed"] or 0, row["probe"]) for row in rows) == [
        (control, seed, probe)
        for control, seed in (("", 0), ("logmel", 0), ("random", 0), ("random", 1))
        for probe in ("knn10", "logistic")
    ]
    assert len({row["model_fingerprint"] for row in rows}) == 4
    for row in rows:
        assert 0 <= row["ci_low"] <= row["score"] <= row["ci_high"] <= 1
        assert row["split"].startswith("made here") and row["task"] == "folder"
        assert row["counts"] | {"clips": 20, "unusable": 2, "tested": 20, "folds": 5} == row["counts"]
        assert len(row["fold_scores"]) == 5
        assert row["seeds"] == ([0, 1] if row["probe"] == "logistic" else [])
    (logmel,) = {row["score"] for row in rows if row["control"] == "logmel"}
    assert logmel == 1.0  # a low tone and a high one: log-mels tell them apart

    cells = sorted((out / "cells").glob("folder-*/default/*"))
    assert len(cells) == 4
    for cell in cells:
        assert (cell / "unusable-files.csv").read_text().count("bad.wav") == 2
        assert {"logistic-confusion.png", "knn10-classes.csv", "map.npz"} <= {path.name for path in cell.iterdir()}
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "random weights" in report and 'src="http' not in report

    run(*arguments, "--random-seeds", 2, "--seeds", 2)
    again = [row for row in rows_of(out) if row["metric"] == "accuracy"]
    assert [row["score"] for row in again] == [row["score"] for row in rows]  # the same cells, written anew


def test_two_models_side_by_side_and_several_protocols(sounds: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [model, "logmel", "--task", "folder", "--data", sounds, "--out", out]
    arguments += ["--protocol", "default", "--protocol", "few-shot", "--set", "resamples=30"]
    result = run(*arguments, "--set", "few-shot.repeats=2", "--set", "few-shot.shots=[1,2]")
    assert result.exit_code == 0
    rows = [row for row in rows_of(out) if row["protocol"] == "few-shot" and row["metric"] == "accuracy"]
    assert sorted((row["model"] == "logmel", row["setting"]["shots"]) for row in rows) == [
        (False, 1), (False, 2), (True, 1), (True, 2),
    ]  # fmt: skip
    assert all(row["seeds"] == [0, 1] and row["settings"]["repeats"] == 2 for row in rows)


def test_pooling_and_layers_are_other_embeddings(sounds: Path, model: Path, tmp_path: Path) -> None:
    for options in ((), ("--pooling", "max"), ("--layer", "0"), ("--layer", "all")):
        run(model, "--task", "folder", "--data", sounds, "--seeds", 1, "--out", tmp_path / "out", *options)
    rows = [row for row in rows_of(tmp_path / "out") if row["probe"] == "logistic" and row["metric"] == "accuracy"]
    assert len({row["model_fingerprint"] for row in rows}) == 4
    assert {(row["pooling"], row["layer"]) for row in rows} == {
        ("model", None), ("max", None), ("model", 0), ("model", "all"),
    }  # fmt: skip


def test_without_out_nothing_is_written(sounds: Path, cache_folder: Path) -> None:
    result = run("logmel", "--task", "folder", "--data", sounds, "--no-cache")
    assert result.exit_code == 0 and "--out DIR" in result.stderr
    assert not cache_folder.exists()


def test_three_real_tasks_with_random_weights(real_data: Path, tmp_path: Path) -> None:
    """A few clips of each set, laid out as the whole set is."""
    import csv

    esc, wanted = real_data / "esc10", tmp_path / "esc"
    (wanted / "meta").mkdir(parents=True)
    (wanted / "audio").mkdir()
    with (esc / "meta" / "esc50.csv").open(newline="") as stream:
        header, *rows = csv.reader(stream)
    few = [row for row in rows if row[3] in ("rain", "dog") and row[1] in "12"][:12]
    few += [row for row in rows if row[3] in ("rain", "dog") and row[1] in "12"][-12:]
    with (wanted / "meta" / "esc50.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *few])
    for row in few:
        shutil.copy(esc / "audio" / row[0], wanted / "audio")
    (tmp_path / "fsdd" / "recordings").mkdir(parents=True)
    for path in (real_data / "fsdd" / "recordings").glob("[01]_[gjl]*_[0-5].wav"):
        shutil.copy(path, tmp_path / "fsdd" / "recordings")

    for part in ("train", "valid", "test"):
        whole, folder = real_data / "nsynth-mini" / f"nsynth-{part}", tmp_path / "nsynth" / f"nsynth-{part}"
        folder.mkdir(parents=True)
        (folder / "audio").symlink_to(whole / "audio")
        notes = json.loads((whole / "examples.json").read_text())
        few_notes = {name: note for name, note in notes.items() if note["instrument_family"] < 3}
        (folder / "examples.json").write_text(json.dumps(few_notes))

    scores = {}
    for task, data in (("esc10", wanted), ("fsdd", tmp_path / "fsdd"), ("nsynth", tmp_path / "nsynth")):
        name = "random:AudioNTT2020" if task == "esc10" else "logmel"
        result = run(name, "--task", task, "--data", data, "--seeds", 1, "--out", tmp_path / task)
        assert result.exit_code == 0
        assert "are listed, of the" in result.stderr  # a part of the set: said, not refused
        scores[task] = next(row for row in rows_of(tmp_path / task) if row["probe"] == "logistic")
    assert {task: row["probe"] for task, row in scores.items()} == dict.fromkeys(scores, "logistic")
    assert scores["esc10"]["control"] == "random" and scores["esc10"]["score"] > 0.6
    assert scores["fsdd"]["score"] > 0.6 and scores["fsdd"]["counts"]["folds"] == 3
    assert scores["nsynth"]["score"] > 0.4 and scores["nsynth"]["counts"]["tested"] == 42


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("logmel", "--random-control"), "no weights"),
        (("logmel", "--logmel-control"), "leave out --logmel-control"),
        (("logmel", "--random-seeds", "1"), "add --random-control"),
        (("no/such/model", "--random-seeds", "3"), "add --random-control"),
        (("random:AudioNTT2020", "--random-control"), "random weights already"),
        (("no/such/model",), "no model folder"),
        (("random:AudioNTT2023",), "AudioNTT2022"),
        (("logmel", "--layer", "last"), "--layer last is neither"),
        (("logmel", "--set", "shots=[1]"), "shots"),
        (("logmel", "--protocol", "hear", "--seeds", "2"), "leave out --seeds"),
        (("logmel", "--label", "mood"), "folder has no option 'label'"),
    ],
)
def test_wrong_use_is_one_sentence(sounds: Path, arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        run(*arguments, "--task", "folder", "--data", sounds)
    assert "\n" not in str(caught.value)


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from downstream.cli.evaluate import evaluate; from downstream.cli.benchmark import benchmark\n"
        "try: benchmark(['--help'], standalone_mode=False); evaluate(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'sklearn', 'matplotlib', 'scipy', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "--random-control" in done.stdout
