"""What a training step costs beside another: bare steps of several configurations, taken in turns in one process.

A machine that slows down for a while slows all of them, so their ratios hold where seconds do not.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch

from byol_a.device import pick_device, resolve_precision
from byol_a.errors import ByolaError, UsageError
from byol_a.normalize import NormStats
from byol_a.training.config import PretrainConfig
from byol_a.training.distributed import Processes
from byol_a.training.trainer import Trainer
from byol_a.words import one_line

ENDLESS = 10**9  # steps of a run, so that schedules stay where they begin
WARM_UP = 2


class StepCost(NamedTuple):
    """What an optimiser step takes `relative` to the reference's, and in `seconds`.

    `relative` is the median over rounds of its time by that of the reference in the same round; `seconds` is that times
    the median time of all the reference's steps, so that both order configurations alike.
    """

    seconds: float
    relative: float


def step_costs(
    configs: Mapping[str, PretrainConfig],
    reference: str,
    rounds: int = 10,
    device: str = "auto",
    side_by_side: int = 4,
) -> dict[str, StepCost]:
    """The cost of a bare optimiser step (random views in; no data, no augmentation) of each configuration.

    Args:
        configs: by name.
        reference: the name of the one that the others are compared with; in every round it takes a step as well.
        rounds: steps of each that are timed, after `WARM_UP` that are not.
        device: "auto", "cpu", "cuda" or "cuda:N".
        side_by_side: configurations in memory at once, beside the reference.

    Raises:
        UsageError: if a configuration does not fit the machine or itself.
        ByolaError: if a step fails; both name the configuration.
    """
    processes = Processes(0, 1, pick_device(device))
    others = [name for name in configs if name != reference]
    of_reference: list[float] = []
    ratios: dict[str, list[float]] = {name: [] for name in configs}
    for first in range(0, max(1, len(others)), side_by_side):
        group = [reference, *others[first : first + side_by_side]]
        steppers = {name: _Stepper(name, configs[name], processes) for name in group}
        for number in range(WARM_UP + rounds):
            # There and back again: nobody always follows the same one.
            took = {name: steppers[name].step() for name in (group if number % 2 else reversed(group))}
            if number >= WARM_UP:
                of_reference.append(took[reference])
                for name in group:
                    ratios[name].append(took[name] / took[reference])
        del steppers  # before the next ones are built: the networks of one group at a time
    unit, relative = statistics.median(of_reference), {name: statistics.median(ratios[name]) for name in configs}
    return {name: StepCost(unit * relative[name], relative[name]) for name in configs}


class _Stepper:
    """A trainer of one configuration that learns from random views."""

    def __init__(self, name: str, config: PretrainConfig, processes: Processes) -> None:
        self._name, self._device = name, processes.device
        precision = resolve_precision(config.training.precision, processes.device)
        config = replace(
            config,
            training=replace(config.training, precision=precision),
            optimizer=config.optimizer.in_steps(1.0),
        )
        training = config.training
        try:
            self._trainer = Trainer(config, NormStats(0.0, 1.0), processes, ENDLESS)
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from error
        frames = self._trainer.pipeline.frontend.frames_of(config.crop_samples)
        part = training.batch_size // training.accumulate
        shape = (self._trainer.method.n_views, part, 1, config.frontend.n_mels, frames)
        self._parts = [torch.randn(shape, device=processes.device)] * training.accumulate

    def step(self) -> float:
        """Take a step; returns the seconds it took."""
        self._wait()
        began = time.perf_counter()
        try:
            self._trainer.update(self._parts, len(self._parts))
        except Exception as error:  # whatever a method of somebody's own may raise
            raise ByolaError(f"{self._name} fails in a step: {type(error).__name__}: {one_line(error)}") from error
        self._wait()
        return time.perf_counter() - began

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
