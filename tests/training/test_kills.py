"""One run killed twenty times, wherever it happens to be, ends as if nothing had ever happened."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from byol_a.training.checkpoint import load_checkpoint

from .faults import Run, logged_steps, wait_until, watched
from .small import RECIPE, losses

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")

STEPS = 150
KILLS = 20


def test_killed_twenty_times_nothing_is_lost(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    recipe, data = tmp_path / "small.yaml", tmp_path / "data"
    recipe.write_text(RECIPE)
    for n in range(9):
        write_wav(data / f"{n}.wav", seconds=0.4 + n / 4, seed=n)
    arguments = ("--recipe", recipe, "--data", data, "--steps", STEPS, "data.workers=2", "augment.mixup.memory=2000")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    Run(tmp_path / "said", *arguments, "--out", whole, "training.checkpoint_every=1000").succeed()

    begun, inside_a_write, saved = time.monotonic(), 0, []
    for number in range(KILLS):
        start = ("--resume",) if (killed / "config.yaml").exists() else arguments
        victim = Victim(killed)
        every = f"training.checkpoint_every={rng.choice((1, 2))}"
        with watched(Run(tmp_path / f"said {number}", *start, "--out", killed, every)) as run:
            _kill(run, victim, rng, while_writing=number % 3 == 0)
        inside_a_write += victim.is_writing()
        saved.append(Victim(killed).saved_steps)
    print(f"{KILLS} kills in {time.monotonic() - begun:.0f} s, {inside_a_write} inside a write, at {saved}")
    assert saved == sorted(saved)
    assert inside_a_write >= 2

    last = Run(tmp_path / "said last", "--resume", "--out", killed).succeed()
    assert "damaged" not in last.stdout
    assert losses(killed) == losses(whole)
    assert sorted(losses(killed)) == list(range(1, STEPS + 1))
    assert (killed / "model" / "model.safetensors").read_bytes() == (whole / "model" / "model.safetensors").read_bytes()
    assert not list(killed.rglob(".*.partial"))


class Victim:
    """What is known of a run's folder before one more process goes to work on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._checkpoint = folder / "checkpoints" / "last.pt"
        self._metrics = folder / "metrics.jsonl"
        self._before = self._identity()
        self._partial = {*self._partials()}
        self.saved_steps: int = load_checkpoint(self._checkpoint)["step"] if self._checkpoint.exists() else 0

    def new_steps(self) -> int:
        """Steps that this process has logged: it begins with a new file, without the steps after the checkpoint."""
        return logged_steps(self.folder) - self.saved_steps if self._identity() != self._before else 0

    def is_writing(self) -> bool:
        """Whether a checkpoint is being written, or was when the process was killed."""
        return not {*self._partials()} <= self._partial

    def _partials(self) -> list[Path]:
        return [*(self.folder / "checkpoints").glob(".last.pt.*.partial")]

    def _identity(self) -> int:
        return self._metrics.stat().st_ino if self._metrics.exists() else 0


def _kill(run: Run, victim: Victim, rng: random.Random, while_writing: bool) -> None:
    """Kill a run at a random moment, or while it writes a checkpoint."""
    if not while_writing and rng.random() < 0.2:  # while it starts
        time.sleep(rng.uniform(0, 1))
    else:
        enough = rng.randrange(10)
        wait_until(lambda: victim.new_steps() > enough)
        if while_writing:
            wait_until(victim.is_writing, pause=0)
        else:
            time.sleep(rng.uniform(0, 0.05))
    assert run.is_running, f"ended on its own: {run.stderr}"
    run.kill()
