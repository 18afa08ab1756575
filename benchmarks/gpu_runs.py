"""What the parts of a GPU session share: their settings, trainers with and without each idea, and taking turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from gpu_store import byola_v2
from pretrain_runs import ENDLESS, STATS, peak_memory, wait

from byol_a.encoders.base import AudioEncoder
from byol_a.training.clip_list import ClipList, gather_clips
from byol_a.training.config import PretrainConfig
from byol_a.training.distributed import Processes
from byol_a.training.graph import WARM_UP, recorded_steps
from byol_a.training.trainer import Trainer


@dataclass(frozen=True)
class Session:
    """What the parts share: device, size, and the store of sounds."""

    device: torch.device
    quick: bool
    store: Path

    @property
    def processes(self) -> Processes:
        """This process, alone."""
        return Processes(0, 1, self.device)

    @property
    def clips(self) -> ClipList:
        """The store's."""
        return gather_clips([self.store], self.config().data, self.processes)[0]

    def config(self, **training: Any) -> PretrainConfig:
        """The recipe with some of `training` otherwise."""
        config = byola_v2(self.quick, self.device.type)
        return replace(config, training=replace(config.training, **training))

    def times(self, many: int, few: int) -> int:
        """A number of steps or rounds."""
        return few if self.quick else many


def new_trainer(session: Session, fast: bool = True, recorded: bool = True, **training: Any) -> Trainer:
    """A trainer of the recipe, with all that `training.fast` stands for but recorded steps or without, and with these
    or without.
    """
    config = session.config(fast="auto" if fast else "off", **training)
    trainer = Trainer(config, STATS, session.processes, ENDLESS)
    trainer.recorded = None
    if recorded:  # whatever `training.fast` says of them
        wanted = replace(config.training, fast="auto")
        trainer.recorded = recorded_steps(trainer.method, trainer.optimizer, session.processes, wanted)
    return trainer


def is_replaying(trainer: Trainer) -> bool:
    """Whether the trainer's steps are recorded ones by now."""
    return trainer.recorded is not None and trainer.recorded.replaying


def view_by_view(trainer: Trainer) -> Trainer:
    """The same trainer, whose encoders take one view after the other, each by the kernels."""
    for module in trainer.method.modules():
        if isinstance(module, AudioEncoder):
            together = module.views
            module.views = lambda x, together=together: torch.cat([together(view[None]) for view in x])
    return trainer


def in_turns(session: Session, makers: dict[str, Callable[[], Trainer]], batch: int | None = None) -> dict[str, Any]:
    """Rate, time and memory of bare steps of several trainers; one that fails says so and the others go on."""
    batch = batch or session.config().training.batch_size
    steps = session.times(30, 2)
    found: dict[str, Any] = {}
    works: dict[str, Callable[[], None]] = {}
    for name, make in makers.items():
        try:
            before = torch.cuda.memory_allocated(session.device) if session.device.type == "cuda" else 0
            reset_peak(session.device)
            trainer = make()
            frames = trainer.pipeline.frontend.frames_of(trainer.config.crop_samples)
            views = torch.randn(2, batch, 1, trainer.config.frontend.n_mels, frames, device=session.device)

            def work(trainer: Trainer = trainer, views: torch.Tensor = views, steps: int = steps) -> None:
                for _ in range(steps):
                    trainer.update([views])
                wait(session.device)

            for _ in range(WARM_UP + 2):
                trainer.update([views])
            wait(session.device)
            peak = peak_memory(session.device).get("gpu", 0.0) - before / 2**20
            found[name] = {"peak_mb": peak, "recorded": is_replaying(trainer)}
            works[name] = work
        except Exception as error:
            found[name] = {"error": f"{type(error).__name__}: {error}"[:300]}
    for name, took in rounds(works, session.times(5, 1)).items():
        found[name] |= {"ms": 1000 * statistics.median(took) / steps}
        found[name] |= {"clips_per_second": batch * steps / statistics.median(took)}
    return found


def rounds(
    works: dict[str, Callable[[], object]], count: int, prepared: dict[str, Callable[[], object]] | None = None
) -> dict[str, list[float]]:
    """Seconds of each work in each round, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(count + 1):
        for name, work in works.items():
            (prepared or {}).get(name, lambda: None)()
            began = time.perf_counter()
            work()
            if number:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def reset_peak(device: torch.device) -> None:
    """Measure a GPU's peak memory from here on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
