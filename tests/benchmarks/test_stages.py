"""The clock of a step's stages, and a trainer that tells it what begins."""

from __future__ import annotations

import pytest
import torch

from byol_a.normalize import NormStats
from byol_a.training.distributed import Processes
from byol_a.training.sources import Batch
from byol_a.training.trainer import Trainer
from tests.benchmarks import programs  # noqa: F401
from tests.benchmarks.test_baseline import small_config

from stages import STAGES, StageClock, watched  # isort: skip


def small_trainer(device: str = "cpu") -> Trainer:
    config = small_config(training={"fast": "auto"})
    return Trainer(config, NormStats(-7.0, 4.5), Processes(0, 1, torch.device(device)), total_steps=100)


def test_time_belongs_to_what_began_last(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, now = StageClock(torch.device("cpu")), [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    for views in (3.0, 5.0, 4.0):
        for stage, seconds in (("input", 1.0), ("views", views), ("backward", 7.0), ("views", 1.0)):
            clock.mark(stage)
            now[0] += seconds
    clock.mark("end")
    now[0] += 100.0  # nobody's
    assert clock.step_seconds() == {"input": 1.0, "views": 5.0, "backward": 7.0}
    clock.mark("input")
    now[0] += 2.0
    clock.mark("end")
    assert clock.step_seconds() == {"input": 2.0}, "the marks before are forgotten"


def watched_steps(trainer: Trainer, clock: StageClock, steps: int) -> list[float]:
    device = trainer.processes.device
    losses = []
    with watched(trainer, clock):
        for step in range(steps):
            clock.mark("input")
            wave = torch.randn(4, 8000, generator=torch.Generator().manual_seed(step)).mul(0.1).to(device)
            clock.mark("views")
            losses.append(float(trainer.train_step([Batch(wave, slice(0, 4))]).loss))
        clock.mark("end")
    return losses


def test_a_trainer_marks_every_stage_and_trains_as_ever() -> None:
    clock = StageClock(torch.device("cpu"))
    trainer, alone = small_trainer(), small_trainer()
    torch.manual_seed(1)
    losses = watched_steps(trainer, clock, 3)
    seconds = clock.step_seconds()
    assert tuple(seconds) == STAGES and all(value > 0 for value in seconds.values())
    torch.manual_seed(1)
    waves = (torch.randn(4, 8000, generator=torch.Generator().manual_seed(step)).mul(0.1) for step in range(3))
    assert losses == [float(alone.train_step([Batch(wave, slice(0, 4))]).loss) for wave in waves]

    assert "pairs" not in vars(trainer.method) and "end_step" not in vars(trainer.method)
    trainer.update([torch.randn(2, 4, 1, 16, 26)])
    assert clock.step_seconds() == {}, "nothing is marked any more"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
def test_marks_on_a_gpu_do_not_wait() -> None:
    trainer, clock = small_trainer("cuda"), StageClock(torch.device("cuda"))
    watched_steps(trainer, clock, 2)
    clock.step_seconds()
    clock.mark("input")
    torch.cuda.set_sync_debug_mode("error")
    try:
        with watched(trainer, clock):
            trainer.update([torch.randn(2, 4, 1, 16, 26, device="cuda")])
        clock.mark("end")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    seconds = clock.step_seconds()
    assert seconds["backward"] > 0 and seconds["optimiser"] > 0
