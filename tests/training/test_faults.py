"""What may befall a run while it goes: files, drives, workers and permissions that go away, and come back.

After each fault the message is one sentence, and what the run had learned is all there.
"""

from __future__ import annotations

import csv
import os
import random
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from byol_a.errors import ByolaError
from byol_a.training.checkpoint import load_checkpoint
from byol_a.training.export import export

from .faults import Run, logged_steps, wait_until, watched
from .small import RECIPE, byol_a, command, environment, losses

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")

STEPS = 60
FILES = 9


class Bench:
    """A recipe, data, and the losses of a run that nothing befell."""

    _undisturbed: ClassVar[dict[int, float]] = {}

    def __init__(self, folder: Path, write_wav: Callable[..., Path]) -> None:
        self.folder, self.data, self.out = folder, folder / "data", folder / "run"
        self.last = self.out / "checkpoints" / "last.pt"
        self.recipe = folder / "small.yaml"
        self.recipe.write_text(RECIPE)
        for n in range(FILES):
            write_wav(self.data / f"{n}.wav", seconds=0.4 + n / 4, seed=n)
        self._runs = 0

    def start(self, *settings: object, out: Path | None = None, privileged: bool = True) -> Run:
        arguments = ("--recipe", self.recipe, "--data", self.data, "--steps", STEPS, "--out", out or self.out)
        return self._run(*arguments, "data.workers=2", *settings, privileged=privileged)

    def resume(self, *settings: object, privileged: bool = True) -> Run:
        return self._run("--resume", "--out", self.out, *settings, privileged=privileged)

    def _run(self, *arguments: object, privileged: bool) -> Run:
        self._runs += 1
        return Run(self.folder / f"said-{self._runs}", *arguments, privileged=privileged)

    def wait_for_step(self, step: int) -> None:
        wait_until(lambda: logged_steps(self.out) >= step)

    def saved_step(self) -> int:
        step: int = load_checkpoint(self.last)["step"]
        return step

    def undisturbed(self) -> dict[int, float]:
        """Losses depend on the sounds and the seed, not on the folder: they are the same for all tests."""
        if not Bench._undisturbed:
            whole = self.folder / "whole"
            self.start("training.checkpoint_every=1000", out=whole).succeed()
            Bench._undisturbed = losses(whole)
        return Bench._undisturbed

    def bad_files(self) -> dict[str, str]:
        with (self.out / "bad_files.csv").open(newline="") as stream:
            return {Path(row["path"]).name: row["reason"] for row in csv.DictReader(stream)}


@pytest.fixture
def bench(tmp_path: Path, write_wav: Callable[..., Path]) -> Bench:
    return Bench(tmp_path, write_wav)


def test_files_deleted_while_the_run_goes_are_replaced_and_named(bench: Bench) -> None:
    with watched(bench.start()) as run:
        bench.wait_for_step(5)
        for number in (2, 4, 8):
            (bench.data / f"{number}.wav").unlink()
        run.succeed()
    assert sorted(losses(bench.out)) == list(range(1, STEPS + 1))
    assert bench.bad_files().keys() == {"2.wav", "4.wav", "8.wav"}
    assert all(reason.startswith("unreadable: ") for reason in bench.bad_files().values())
    assert "3 files could not be used: 3 unreadable" in run.stdout


@pytest.mark.parametrize("checkpoint_every", [1, 1000])
def test_a_drive_that_goes_away_ends_the_run_saved_and_comes_back(checkpoint_every: int, bench: Bench) -> None:
    with watched(bench.start(f"training.checkpoint_every={checkpoint_every}")) as run:
        bench.wait_for_step(random.randint(3, 20))
        gone = bench.data.rename(bench.data.with_name("gone"))
        error = run.fail()
    step = bench.saved_step()
    assert max(losses(bench.out)) == step < STEPS
    assert f"stopped at step {step} of {STEPS}, because reading the data failed (none of the {FILES} files " in error
    assert "no such file or directory" in error.lower()
    assert error.endswith(f"everything is saved; continue with: byol-a pretrain --resume --out {bench.out}")

    still_gone = bench.resume()
    assert "none of the 9 files can be used" in still_gone.fail()
    assert bench.saved_step() == step

    gone.rename(bench.data)
    bench.resume().succeed()
    assert losses(bench.out) == bench.undisturbed()


def test_two_processes_lose_their_data_and_get_them_back(bench: Bench) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "byol_a")
    arguments = ("pretrain", "--recipe", bench.recipe, "--data", bench.data, "--device", "cpu", "--steps", STEPS)
    whole = bench.folder / "whole"
    assert byol_a(*arguments, "--out", whole, launcher=launcher).returncode == 0

    process = subprocess.Popen(
        command(*arguments, "--out", bench.out, "training.checkpoint_every=1000", launcher=launcher),
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    bench.wait_for_step(5)
    gone = bench.data.rename(bench.data.with_name("gone"))
    _, stderr = process.communicate(timeout=120)
    assert process.returncode != 0
    said = [line for line in stderr.splitlines() if line.startswith("byol-a: error: ")]  # the launcher repeats it
    assert len(said) == 1 and "because reading the data failed (none of the 9 files" in said[0]
    assert "everything is saved" in said[0] and "byol_a/training" not in stderr  # no traceback of ours
    assert max(losses(bench.out)) == bench.saved_step() < STEPS

    gone.rename(bench.data)
    done = byol_a("pretrain", "--resume", "--out", bench.out, "--device", "cpu", launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert losses(bench.out) == losses(whole)


def test_killed_data_workers_are_replaced(bench: Bench) -> None:
    with watched(bench.start()) as run:
        killed = 0
        for step in (2, 9, 10, 25):
            bench.wait_for_step(step)
            wait_until(lambda: len(run.workers()) == 2)
            for pid in run.workers()[: 2 if step == 9 else 1]:
                run.kill_worker(pid)
                killed += 1
        run.succeed()
    lines = [line for line in run.stderr.splitlines() if "data worker" in line]
    assert 1 <= len(lines) <= killed == 5
    assert set(lines) == {"a data worker was ended by signal 9 (SIGKILL); another one takes its place"}
    assert losses(bench.out) == bench.undisturbed()


def test_workers_killed_again_and_again_end_the_run_saved(bench: Bench) -> None:
    with watched(bench.start("training.checkpoint_every=1000", "data.workers=1")) as run:
        bench.wait_for_step(5)
        while run.is_running:
            for pid in run.workers():
                run.kill_worker(pid)
        error = run.fail()
    assert "3 data workers died one after the other over the same batch, the last one by signal 9 (SIGKILL)" in error
    assert "if memory ran out, take fewer data.workers" in error
    assert max(losses(bench.out)) == bench.saved_step()
    bench.resume("data.workers=0").succeed()
    assert losses(bench.out) == bench.undisturbed()


def test_samples_that_are_not_numbers_stay_out(bench: Bench) -> None:
    import soundfile

    for name, value in (("3.wav", np.nan), ("5.wav", np.inf)):
        wave = np.full(16000, value, np.float32)
        soundfile.write(bench.data / name, wave, 16000, subtype="FLOAT")
    bench.start().succeed()
    assert bench.bad_files().keys() == {"3.wav", "5.wav"}
    assert np.isfinite(list(losses(bench.out).values())).all()


def test_files_that_may_not_be_read(bench: Bench) -> None:
    for number in (1, 6):
        (bench.data / f"{number}.wav").chmod(0)
    run = bench.start(privileged=False).succeed()
    assert bench.bad_files().keys() == {"1.wav", "6.wav"}
    assert all(reason.lower() == "unreadable: permission denied" for reason in bench.bad_files().values())
    assert "2 files could not be used: 2 unreadable" in run.stdout


def test_an_output_folder_that_may_not_be_written(bench: Bench) -> None:
    closed = bench.folder / "closed"
    closed.mkdir(mode=0o555)
    error = bench.start(out=closed / "run", privileged=False).fail()
    assert "Permission denied" in error and str(closed / "run") in error
    assert not list(closed.iterdir())


def test_an_output_folder_that_becomes_read_only(bench: Bench) -> None:
    checkpoints = bench.last.parent
    with watched(bench.start("training.checkpoint_every=2", privileged=False)) as run:
        bench.wait_for_step(5)
        checkpoints.chmod(0o555)
        error = run.fail()
    assert f"could not write the checkpoint {bench.last} (Permission denied" in error
    assert f"the last good checkpoint is still {bench.last}" in error
    assert bench.saved_step() >= 4
    checkpoints.chmod(0o755)
    bench.resume(privileged=False).succeed()
    assert losses(bench.out) == bench.undisturbed()


def test_a_checkpoint_that_may_not_be_read_is_left_alone(bench: Bench) -> None:
    with watched(bench.start("training.checkpoint_every=2", privileged=False)) as run:
        bench.wait_for_step(5)
        run.kill()
    mode = stat.S_IMODE(bench.last.stat().st_mode)
    bench.last.chmod(0)
    assert f"{bench.last} cannot be read (Permission denied)" in bench.resume(privileged=False).fail()
    bench.last.chmod(mode)
    bench.resume(privileged=False).succeed()
    assert losses(bench.out) == bench.undisturbed()


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "foreign", "executable"])
def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(damage: str, bench: Bench) -> None:
    with watched(bench.start("training.checkpoint_every=2")) as run:
        bench.wait_for_step(7)
        run.kill()
    before = load_checkpoint(bench.last.with_name("previous.pt"))["step"]
    content = bytearray(bench.last.read_bytes())
    bad: dict[str, Callable[[], bytes]] = {
        "flipped": lambda: _flipped(content),
        "cut": lambda: bytes(content[: random.randrange(1, len(content))]),
        "empty": lambda: b"",
        "foreign": lambda: _saved(torch.nn.Linear(2, 2).state_dict(), bench.folder / "other.pt"),
        "executable": lambda: _saved({"step": 4, "run": Trap(bench.folder / "trap")}, bench.folder / "other.pt"),
    }
    bench.last.unlink()
    bench.last.write_bytes(bad[damage]())

    with pytest.raises(ByolaError, match=r"last\.pt cannot be used: it .*; choose another one of .* with --checkpoint"):
        export(bench.out, bench.folder / "model")
    resumed = bench.resume().succeed()
    lines = [line for line in resumed.stdout.splitlines() if "last.pt" in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"the checkpoint {bench.last} cannot be used: it ")
    assert lines[0].endswith(f"kept as last.pt.damaged; the run goes on from previous.pt, at step {before}")
    assert bench.last.with_name("last.pt.damaged").exists()
    assert not (bench.folder / "trap").exists()
    assert losses(bench.out) == bench.undisturbed()  # the rows after the older checkpoint were dropped, and came again


def test_another_runs_checkpoint_is_refused(bench: Bench) -> None:
    other = bench.folder / "other"
    bench.start("encoder.options.embedding_dim=24", "--steps", 2, out=other).succeed()
    bench.start("--steps", 4).succeed()
    own = bench.last.rename(bench.last.with_name("own.pt"))
    shutil.copy(other / "checkpoints" / "last.pt", bench.last)
    error = bench.resume("--steps", 6).fail()
    assert f"the checkpoint {bench.last} does not fit the run's settings" in error
    assert "size mismatch" in error and "put this one's in its place (previous.pt, if it is there)" in error
    with pytest.raises(ByolaError, match="does not fit the run in"):
        export(bench.out, bench.folder / "model")
    own.replace(bench.last)
    bench.resume("--steps", STEPS).succeed()
    assert losses(bench.out) == bench.undisturbed()


def test_no_good_checkpoint_left(bench: Bench) -> None:
    bench.start("--steps", 6, "training.checkpoint_every=2", "training.keep_every=4").succeed()
    whole = bench.last.with_name("step-4.pt").read_bytes()
    bench.last.with_name("step-4.pt").unlink()
    bench.last.with_name("step-4.pt").write_bytes(whole)
    for name in ("last.pt", "previous.pt"):
        os.truncate(bench.last.with_name(name), 100)
    error = bench.resume("--steps", STEPS).fail()
    assert f"copy step-4.pt, which is whole and of step 4, over {bench.last} and use --resume again" in error
    shutil.copy(bench.last.with_name("step-4.pt"), bench.last)
    bench.resume("--steps", STEPS).succeed()
    assert losses(bench.out) == bench.undisturbed()


def test_two_processes_do_not_train_one_run(bench: Bench) -> None:
    with watched(bench.start("--steps", 10**6)) as run:
        bench.wait_for_step(3)
        second = bench.resume()
        assert second.wait() == 2
        assert second.errors == [
            f"byol-a: error: another process is training the run in {bench.out}; wait for it, or end it first"
        ]
        assert run.is_running


class Trap:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def _flipped(content: bytearray) -> bytes:
    place = random.randrange(len(content))
    content[place] ^= 1 << random.randrange(8)
    return bytes(content)


def _saved(value: object, path: Path) -> bytes:
    torch.save(value, path)
    return path.read_bytes()
