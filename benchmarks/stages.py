"""Where the time of a training step goes: a clock that is told what begins, and marks in a trainer that tell it."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch

from byol_a.training.trainer import Trainer

STAGES = ("input", "front-end", "views", "forward online", "forward target", "backward", "optimiser", "EMA", "rest")
"""In order. `input` is the wait for a batch; `views` are normalisation, mixup, crop, fader and post-norm; `forward
online` has the predictor and the loss as well."""


class StageClock:
    """Seconds of each stage. What passes between two marks belongs to the stage that the first one names.

    On a GPU the marks are events in the stream, and nothing waits for them before `step_seconds` is asked: what is
    measured is the device's time, in which a stage that the host is late with shows as that stage's.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._marks: list[tuple[str, Any]] = []

    def mark(self, stage: str) -> None:
        """Say what begins now."""
        if not self._on_gpu:
            self._marks.append((stage, time.perf_counter()))
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self._marks.append((stage, event))

    def step_seconds(self) -> dict[str, float]:
        """Median over the steps of each stage's seconds, in the order of `STAGES`; forgets the marks.

        A step begins with the mark `input`; the last one ends with the last mark.
        """
        marks, self._marks = self._marks, []
        if self._on_gpu:
            marks[-1][1].synchronize()
        steps: list[dict[str, float]] = []
        for (stage, began), (_, ended) in itertools.pairwise(marks):
            if stage == "input":
                steps.append(defaultdict(float))
            steps[-1][stage] += began.elapsed_time(ended) / 1000 if self._on_gpu else ended - began
        found = {stage for step in steps for stage in step}
        return {stage: statistics.median(step[stage] for step in steps) for stage in STAGES if stage in found}


@contextlib.contextmanager
def watched(trainer: Trainer, clock: StageClock) -> Iterator[None]:
    """Have the parts of `trainer` mark on `clock` what begins, in steps that are run part by part, not replayed whole.

    What the method computes in `pairs`, as BYOL and its relatives do, is the targets'; the rest of its forward pass is
    the online network's.
    """
    method: Any = trainer.method
    recorded, trainer.recorded = trainer.recorded, None  # a recording would call none of these
    hooks = [
        trainer.pipeline.frontend.register_forward_pre_hook(lambda *_: clock.mark("front-end")),
        trainer.pipeline.frontend.register_forward_hook(lambda *_: clock.mark("views")),
        method.register_forward_pre_hook(lambda *_: clock.mark("forward online")),
        method.register_forward_hook(lambda *_: clock.mark("backward")),
        trainer.optimizer.register_step_pre_hook(lambda *_: clock.mark("optimiser")),
    ]
    around = {"pairs": ("forward target", "forward online"), "end_step": ("EMA", "rest")}
    wrapped = [name for name in around if hasattr(method, name)]
    for name in wrapped:
        setattr(method, name, _between(clock, getattr(method, name), *around[name]))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for name in wrapped:
            delattr(method, name)  # the class's own shows again
        trainer.recorded = recorded


def _between(clock: StageClock, work: Callable[..., Any], before: str, after: str) -> Callable[..., Any]:
    def marked(*arguments: Any) -> Any:
        clock.mark(before)
        result = work(*arguments)
        clock.mark(after)
        return result

    return marked
