"""The command `byol-a pretrain`, end to end and through every fault: kills, signals, bad files, full disks."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from byol_a.training.run_folder import RunFolder

from .small import RECIPE, byol_a, command, environment, losses


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def data(tmp_path: Path, write_wav: Callable[..., Path]) -> Path:
    for n in range(6):
        write_wav(tmp_path / "data" / f"{n}.wav", seconds=0.4 + n / 4, seed=n)
    return tmp_path / "data"


def wait_for_step(run: Path, step: int, process: subprocess.Popen[str]) -> None:
    metrics = run / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.exists() or metrics.read_text().count("\n") < step:
        assert process.poll() is None, process.communicate(timeout=20)
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_run_leaves_model_metrics_picture_and_checkpoints(recipe: Path, data: Path, tmp_path: Path) -> None:
    (data / "broken.wav").write_bytes(b"RIFF")
    (data / "old.m4a").write_bytes(b"a format that cannot be read")
    run = tmp_path / "run"
    done = byol_a("pretrain", "--recipe", recipe, "--data", data, "--out", run, "--steps", 6, "training.keep_every=2")
    assert done.returncode == 0, done.stderr
    assert "model:" in done.stdout
    folder = RunFolder(run)
    assert sorted(losses(run)) == [1, 2, 3, 4, 5, 6]
    row = json.loads(folder.metrics.read_text().splitlines()[-1])
    assert {"loss", "collapse", "effective_rank", "lr", "tau", "clips", "clips_per_s"} <= set(row)
    assert folder.plot.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == [
        "last.pt",
        "previous.pt",
        "step-2.pt",
        "step-4.pt",
        "step-6.pt",
    ]
    assert sorted(path.name for path in folder.model.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert "broken.wav" in folder.bad_files.read_text()
    assert "2 files could not be used" in done.stdout
    assert "old.m4a" in folder.bad_files.read_text()

    again = byol_a("pretrain", "--recipe", recipe, "--data", data, "--out", run, "--steps", 6)
    assert again.returncode == 2
    assert "--resume" in again.stderr
    assert len(again.stderr.splitlines()) == 1

    exported = byol_a("export", run, "--out", tmp_path / "model", "--checkpoint", folder.checkpoints / "step-4.pt")
    assert exported.returncode == 0, exported.stderr
    provenance = json.loads((tmp_path / "model" / "config.json").read_text())["provenance"]
    assert provenance["steps"] == 4
    assert provenance["clips_seen"] == 32


@pytest.mark.parametrize("source", ["files", "synth"])
def test_killed_at_a_random_step_it_resumes_bit_for_bit(source: str, recipe: Path, data: Path, tmp_path: Path) -> None:
    arguments = (
        "pretrain",
        "--recipe",
        recipe,
        "--data",
        data if source == "files" else "synth",
        "--steps",
        60,
    )
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = byol_a(*arguments, "--out", whole)
    assert done.returncode == 0, done.stderr

    process = subprocess.Popen(command(*arguments, "--out", killed), env=environment(), text=True)
    wait_for_step(killed, random.randint(5, 40), process)
    process.send_signal(signal.SIGKILL)
    assert process.wait(20) == -signal.SIGKILL
    assert max(losses(killed), default=0) < 60

    done = byol_a("pretrain", "--resume", "--out", killed)
    assert done.returncode == 0, done.stderr
    assert losses(killed) == losses(whole)
    assert (killed / "model" / "model.safetensors").read_bytes() == (whole / "model" / "model.safetensors").read_bytes()


def test_killed_before_the_first_checkpoint_it_starts_anew(recipe: Path, data: Path, tmp_path: Path) -> None:
    arguments = (
        "pretrain",
        "--recipe",
        recipe,
        "--data",
        data,
        "--steps",
        8,
        "training.checkpoint_every=1000",
    )
    run = tmp_path / "run"
    process = subprocess.Popen(command(*arguments, "--out", run), env=environment(), text=True)
    deadline = time.monotonic() + 120
    while not (run / "config.yaml").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait(20)
    done = byol_a("pretrain", "--resume", "--out", run)
    assert done.returncode == 0, done.stderr
    assert sorted(losses(run)) == list(range(1, 9))


@pytest.mark.parametrize("whole_group", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(
    number: signal.Signals, whole_group: bool, recipe: Path, data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        command("pretrain", "--recipe", recipe, "--data", data, "--out", run, "--steps", 100_000),
        env=environment(),
        text=True,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for_step(run, 5, process)
    if whole_group:  # as Ctrl-C in a terminal does, and a job scheduler: data workers get it too
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "everything is saved" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr
    last = max(losses(run))
    done = byol_a("pretrain", "--resume", "--out", run, "--steps", last + 2)
    assert done.returncode == 0, done.stderr
    assert max(losses(run)) == last + 2


@pytest.mark.parametrize(
    ("checkpoint_every", "words"), [(100, "the loss became nan"), (1, "the weights became infinite")]
)
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(
    checkpoint_every: int, words: str, recipe: Path, data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert byol_a("pretrain", "--recipe", recipe, "--data", data, "--out", run, "--steps", 4).returncode == 0
    good = (run / "checkpoints" / "last.pt").read_bytes()
    every = f"training.checkpoint_every={checkpoint_every}"
    broken = byol_a("pretrain", "--resume", "--out", run, "--steps", 40, "optimizer.lr=1e38", every)
    assert broken.returncode == 1
    assert words in broken.stderr.splitlines()[-1]
    assert "last good checkpoint" in broken.stderr
    assert (run / "checkpoints" / "last.pt").read_bytes() == good
    mended = byol_a("pretrain", "--resume", "--out", run, "--steps", 6, "optimizer.lr=1e-3")
    assert mended.returncode == 0, mended.stderr


def test_a_full_disk_keeps_the_last_checkpoint(recipe: Path, data: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=6m", small_disk], check=True, timeout=60)  # room for three checkpoints
    run = small_disk / "run"
    done = byol_a("pretrain", "--recipe", recipe, "--data", data, "--out", run, "--steps", 4)
    assert done.returncode == 0, done.stderr
    good = (run / "checkpoints" / "last.pt").read_bytes()
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    full = byol_a("pretrain", "--resume", "--out", run, "--steps", 8)
    assert full.returncode == 1
    assert "No space left on device" in full.stderr.splitlines()[-1]
    assert "Traceback" not in full.stderr
    assert (run / "checkpoints" / "last.pt").read_bytes() == good
    filler.unlink()
    done = byol_a("pretrain", "--resume", "--out", run, "--steps", 8)
    assert done.returncode == 0, done.stderr
    assert sorted(losses(run)) == list(range(1, 9))


def test_two_processes_train_together_and_resume_bit_for_bit(recipe: Path, data: Path, tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "byol_a")
    arguments = ("pretrain", "--recipe", recipe, "--data", data, "--device", "cpu")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    done = byol_a(*arguments, "--out", whole, "--steps", 9, launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("model:") == 1
    done = byol_a(*arguments, "--out", stopped, "--steps", 6, launcher=launcher)
    assert done.returncode == 0, done.stderr
    done = byol_a("pretrain", "--resume", "--out", stopped, "--steps", 9, "--device", "cpu", launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert sorted(losses(stopped)) == list(range(1, 10))
    assert losses(stopped) == losses(whole)


def test_settings_given_to_a_resumed_run_stay(recipe: Path, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert byol_a("pretrain", "--recipe", recipe, "--data", data, "--out", run, "--steps", 2).returncode == 0
    changes = ("optimizer.lr=5e-4", "training.precision=auto", "training.fast=off")
    changed = byol_a("pretrain", "--resume", "--out", run, "--steps", 3, *changes)
    assert changed.returncode == 0, changed.stderr
    again = byol_a("pretrain", "--resume", "--out", run)
    assert again.returncode == 0
    assert "complete at 3 steps" in again.stdout
    config = RunFolder(run).config()
    assert (config.training.steps, config.optimizer.lr) == (3, 5e-4)
    assert config.training.precision in ("float32", "bf16")
    assert config.training.fast == "off"


def test_a_folder_with_an_equals_sign_is_data(recipe: Path, data: Path, tmp_path: Path) -> None:
    named = data.rename(tmp_path / "lang=en")
    done = byol_a(
        "pretrain", "--recipe", recipe, "--out", tmp_path / "run", "--steps", 2, "--data", named, named / "0.wav"
    )
    assert done.returncode == 0, done.stderr
    clips = RunFolder(tmp_path / "run").clips()
    assert clips is not None and len(clips) == 6


def test_tensorboard_and_running_statistics(recipe: Path, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    changes = ("training.tensorboard=true", "normalization.kind=running", "optimizer.clip_norm=1")
    done = byol_a("pretrain", "--recipe", recipe, "--data", data, "--out", run, "--steps", 3, *changes)
    assert done.returncode == 0, done.stderr
    assert list((run / "tensorboard").glob("events.out.*"))


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_a_compiled_run_is_resumed_like_any_other(recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ("pretrain", "--recipe", recipe, "--data", "synth", "--out", run, "--steps", 2)
    done = byol_a(*arguments, "training.compile=true")
    assert done.returncode == 0, done.stderr
    done = byol_a("pretrain", "--resume", "--out", run, "--steps", 3, "training.compile=false")
    assert done.returncode == 0, done.stderr
    assert sorted(losses(run)) == [1, 2, 3]


def test_nothing_usable_is_one_sentence(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for n in range(3):
        (tmp_path / "data" / f"{n}.wav").write_bytes(b"")
    failed = byol_a("pretrain", "--recipe", recipe, "--data", tmp_path / "data", "--out", tmp_path / "run")
    assert failed.returncode == 1
    assert len(failed.stderr.strip().splitlines()) == 1
    assert "byol-a: error: none of the 3 files can be used" in failed.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data", "x"), "--out"),
        (("--out", "x"), "--data"),
        (("--resume",), "--out"),
        (("--resume", "--out", "nowhere"), "no pre-training run"),
        (("--recipe", "byola_v9", "--data", "x", "--out", "y"), "did you mean 'byola_v"),
        (("--data", "nowhere", "--out", "y"), "nowhere does not exist"),
        (("--data", "synth", "--out", "y", "--device", "toaster"), "unknown device"),
        (("training.bach_size=3", "--data", "synth", "--out", "y"), "did you mean 'batch_size'"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(
    arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    failed = byol_a("pretrain", *arguments)
    assert failed.returncode == 2
    assert words in failed.stderr
    assert len(failed.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "y").exists()


def test_what_would_make_another_run_of_it_cannot_change(recipe: Path, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert byol_a("pretrain", "--recipe", recipe, "--data", data, "--out", run, "--steps", 2).returncode == 0
    refused = byol_a("pretrain", "--resume", "--out", run, "training.batch_size=4")
    assert refused.returncode == 2
    assert "training.batch_size cannot change" in refused.stderr


def test_print_config_is_a_recipe(recipe: Path, tmp_path: Path) -> None:
    shown = byol_a("pretrain", "--recipe", recipe, "--print-config", "training.batch_size=16")
    assert shown.returncode == 0
    (tmp_path / "shown.yaml").write_text(shown.stdout)
    again = byol_a("pretrain", "--recipe", tmp_path / "shown.yaml", "--print-config")
    assert again.stdout == shown.stdout
    assert "batch_size: 16" in shown.stdout
