"""Several processes train as one would, and a job that is started anew goes on where it was."""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path

import pytest
import torch

from byol_a.training.config import PretrainConfig
from byol_a.training.distributed import Processes
from byol_a.training.job import Job
from byol_a.training.run_folder import RunFolder

from .conftest import Pair
from .launched import PROCESSES, Launched
from .small import byol_a, losses
from .two_processes import FILES, STEPS, TRAININGS, predictors, train, write_files

ALONE = Processes(0, 1, torch.device("cpu"))
needs_proc = pytest.mark.skipif(not (PROCESSES / "self" / "environ").exists(), reason="finds workers through /proc")


def pretrain(recipe: Path, data: Path | str, run: Path, steps: int, *more: object) -> tuple[object, ...]:
    """A command line to be launched."""
    arguments = ("pretrain", "--recipe", recipe, "--data", data, "--device", "cpu", "--out", run, "--steps", steps)
    return ("-m", "byol_a", *arguments, *more)


@pytest.mark.parametrize("kind", list(TRAININGS))
def test_two_processes_learn_what_one_learns(kind: str, pair: Pair) -> None:
    """The same global batches, normalised together or clip by clip, over epochs that end in the middle of a batch.

    So do the methods that look at the whole batch beyond its norms.
    """
    assert FILES % 8
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        sounds = [pair.folder / f"{number}.wav" for number in range(FILES)]
        one = train(ALONE, sounds, kind == "per clip", TRAININGS[kind])
    finally:
        torch.set_num_threads(threads)
    first, second = pair.first[kind], pair.second[kind]
    assert one["waves"].shape[:2] == (STEPS, 8)
    assert torch.equal(torch.cat([first["waves"], second["waves"]], dim=1), one["waves"])
    assert torch.equal(first["losses"], second["losses"])
    assert torch.equal(first["weights"], second["weights"])
    tolerance = 1e-5 if kind == "per clip" else 3e-4
    torch.testing.assert_close(first["losses"], one["losses"], rtol=tolerance, atol=tolerance)
    assert len(set(one["losses"].tolist())) == STEPS


def test_two_processes_compute_the_predictor_that_one_computes(pair: Pair) -> None:
    """From shares of unequal size."""
    for name, (predictor, online, target) in predictors().items():
        predictor.fit(online, target)
        for found in (pair.first, pair.second):
            torch.testing.assert_close(found["predictors"][name], dict(predictor.state_dict()))


def test_what_processes_say_to_each_other(pair: Pair) -> None:
    first, second = pair.first["talk"], pair.second["talk"]
    assert first.pop("gather") == [{"rank": 0}, {"rank": 1}]
    assert second.pop("gather") == []
    assert first.pop("mean").tolist() == second.pop("mean").tolist() == [0.5, 1.0]
    assert first == second
    assert first == {
        "any": [False, True, True],
        "broadcast": ["from", 0],
        "votes": [False, False, False, True, False],  # asked for at the third step, known at the fourth
    }


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven sounds for all tests of this file."""
    folder = tmp_path_factory.mktemp("data") / "sounds"
    write_files(folder)
    return folder


@pytest.fixture(scope="module")
def whole(small_recipe: Path, sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by two processes that nothing has disturbed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    with Launched(*pretrain(small_recipe, sounds, run, 40)) as job:
        assert job.wait() == 0, job.output
        assert job.output.count("model:") == 1
    return run


def assert_same(run: Path, whole: Path) -> None:
    """Two runs have the same losses and the same model."""
    assert losses(run) == losses(whole)
    models = [(folder / "model" / "model.safetensors").read_bytes() for folder in (run, whole)]
    assert models[0] == models[1]


@needs_proc
def test_a_killed_process_costs_nothing_but_time(small_recipe: Path, sounds: Path, whole: Path, tmp_path: Path) -> None:
    """The launcher starts the same command line again, and it goes on from the last checkpoint."""
    run = tmp_path / "run"
    options = ("--standalone", "--max-restarts", "1")
    with Launched(*pretrain(small_recipe, sounds, run, 40), options=options) as job:
        job.wait_for_step(run, 6)
        victim = job.workers()[1]
        os.kill(victim, signal.SIGKILL)
        job.wait_until(lambda: bool(job.errors), 60)
        assert max(losses(run)) < 40
        assert job.wait() == 0, job.output
        assert job.errors == [
            f"byol-a: error: process 0 stopped, because process 1 on {os.uname().nodename} (pid {victim}) shows no "
            "sign of life: it was killed or crashed"
        ]
    assert_same(run, whole)


def test_a_job_started_anew_takes_no_run_that_it_did_not_begin(small_recipe: Path, tmp_path: Path) -> None:
    RunFolder(tmp_path).write_config(PretrainConfig())
    options = ("--standalone", "--max-restarts", "1")
    with Launched(*pretrain(small_recipe, "synth", tmp_path, 4), options=options, workers=1) as job:
        assert job.wait() == 1
        assert len(job.errors) == 2
        assert all("exists already" in line for line in job.errors)


def test_a_repeated_command_line_continues_its_run(small_recipe: Path, sounds: Path, tmp_path: Path) -> None:
    """`--auto-resume` begins a run or goes on with it; what would make it another run stays as it was.

    With synchronised batch norm, and then without the other process: checkpoints and models are those of plain batch
    norm.
    """
    run = tmp_path / "run"
    settings = ("--auto-resume", "training.sync_batch_norm=true")
    with Launched(*pretrain(small_recipe, sounds, run, 2, *settings, "optimizer.lr=2e-3")) as job:
        assert job.wait() == 0, job.output
    changes = ("optimizer.lr=5e-4", "training.batch_size=16", "training.fast=off")
    again = byol_a(*pretrain(small_recipe, sounds, run, 4, *settings, *changes)[2:])
    assert again.returncode == 0, again.stderr
    assert f"the run in {run} goes on with its own training.batch_size\n" in again.stderr
    assert sorted(losses(run)) == [1, 2, 3, 4]
    config = RunFolder(run).config()
    assert (config.training.batch_size, config.optimizer.lr, config.training.sync_batch_norm) == (8, 5e-4, True)
    assert config.training.fast == "off"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@needs_proc
def test_two_nodes_train_together_and_start_again_together(
    small_recipe: Path, sounds: Path, whole: Path, tmp_path: Path
) -> None:
    """Two launchers, a process each. One is killed: both start again, each by its own count, and come to the end."""
    run = tmp_path / "run"
    rendezvous = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--rdzv-id", "two-nodes")
    options = ("--nnodes", "2", "--max-restarts", "1", *rendezvous)
    command = pretrain(small_recipe, sounds, run, 40)
    with (
        Launched(*command, options=(*options, "--node-rank", "0"), workers=1) as first,
        Launched(*command, options=(*options, "--node-rank", "1"), workers=1) as second,
    ):
        first.wait_for_step(run, 6)
        other, hurt = (first, second) if 1 in second.workers() else (second, first)
        victim = hurt.workers()[1]
        os.kill(victim, signal.SIGKILL)
        assert first.wait() == 0, first.output
        assert second.wait() == 0, second.output
        (error,) = other.errors
        assert re.search(rf"because process 1 on \S+ \(pid {victim}\) shows no sign of life", error)
        assert other.output.count("model:") == 1
    assert_same(run, whole)


def test_a_fixed_set_of_nodes_trains_together(small_recipe: Path, tmp_path: Path) -> None:
    """With `--master-addr`, as schedulers start them; an error is said on every node."""
    options = ("--nnodes", "2", "--master-addr", "127.0.0.1", "--master-port", str(free_port()))
    command = ("-m", "tests.training.failing", *pretrain(small_recipe, "synth", tmp_path / "run", 9)[2:])
    fault = "0 OSError 'the tape is torn'"
    with (
        Launched(*command, options=(*options, "--node-rank", "0"), workers=1, FAILS=fault) as first,
        Launched(*command, options=(*options, "--node-rank", "1"), workers=1, FAILS=fault) as second,
    ):
        assert first.wait(60) == 1
        assert second.wait(60) == 1
        for job, start in ((first, "byol-a: error: process 0 on "), (second, "byol-a: error: process 1 stopped, ")):
            (error,) = job.errors
            assert error.startswith(start)
            assert "process 0 on" in error
            assert "the tape is torn" in error


def test_alone_there_is_nobody_to_ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WORLD_SIZE", "TORCHELASTIC_USE_AGENT_STORE"):
        monkeypatch.delenv(name, raising=False)
    job = Job()
    assert job.decide("anything", lambda: True)
    job.remember_run(tmp_path)
    assert not job.remembers_run(tmp_path)
    error = ValueError()
    assert job.verdict(error) is error
    job.finish()
    vote = ALONE.vote()
    assert [vote(wish) for wish in (False, True, False)] == [False, True, False]
