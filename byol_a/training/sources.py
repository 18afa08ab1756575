"""Where a run's sounds come from: crops of clips read by worker processes, or the synthesiser on the device.

Either way, what stands at position p of the run is a function of the seed and p alone: position p is entry
p mod N of epoch p // N's order. Batches are consecutive positions and run on over an epoch's end, so a
small folder makes full batches and no process ever waits for a short last one.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import Sampler

from byol_a.data.crops import Key, RandomCrops
from byol_a.data.loader import load_crops
from byol_a.data.report import FileReport
from byol_a.data.sampling import EpochOrder, Order
from byol_a.data.stats import crop_statistics
from byol_a.data.synth import SynthSource
from byol_a.data.worker_pool import available_cores
from byol_a.errors import UsageError
from byol_a.frontend import LogMel
from byol_a.normalize import NormStats, StatsAccumulator
from byol_a.progress import Progress
from byol_a.training.clip_list import ClipList
from byol_a.training.config import PretrainConfig
from byol_a.training.distributed import Processes
from byol_a.training.feed import Feed
from byol_a.training.pipeline import mix_seeds

# Sounds per "epoch" of the endless synthesiser: as many as the AudioSet copy of BYOL-A's paper.
SYNTH_EPOCH = 1_963_807
STATISTICS_STREAM = 1


class Batch(NamedTuple):
    """One part of an optimiser step on this process: `clips` slices the step's drawn parameters."""

    wave: Tensor  # (b, S) float32 in [-1, 1] on the device
    clips: slice


class Source(Protocol):
    """An endless, seekable sequence of training sounds."""

    clips_per_epoch: int
    report: FileReport  # files that could not be used

    def statistics(self, frontend: LogMel, limit: int) -> NormStats:
        """Log-mel mean and std of at most `limit` sounds that depend on the seed alone."""

    def batches(self, start_step: int, total_steps: int) -> Generator[Batch, None, None]:
        """The parts of optimiser steps `start_step` to `total_steps`, `accumulate` of them for each step."""


def shares(config: PretrainConfig, processes: Processes) -> list[slice]:
    """Which clips of every global batch fall to this process, one slice for each accumulated part.

    Raises:
        UsageError: if the batch does not divide evenly.
    """
    training = config.training
    parts = processes.world_size * training.accumulate
    if training.batch_size % parts or training.batch_size // parts < 2:
        raise UsageError(
            f"training.batch_size {training.batch_size} cannot be shared by {processes.world_size} processes x "
            f"{training.accumulate} accumulated parts; choose a multiple of {parts}, at least {2 * parts}"
        )
    size = training.batch_size // parts
    firsts = [(part * processes.world_size + processes.rank) * size for part in range(training.accumulate)]
    return [slice(first, first + size) for first in firsts]


class ClipSource:
    """Random crops of clips, read and cut by worker processes as int16."""

    def __init__(self, clips: ClipList, config: PretrainConfig, processes: Processes) -> None:
        self.clips_per_epoch = len(clips)
        self.report = FileReport()
        self._clips, self._weights = clips.open(config.frontend.sample_rate), clips.weights
        self._config, self._processes = config, processes
        self._workers = resolve_workers(config.data.workers)

    def _crops(self, seed: int) -> RandomCrops:
        config = self._config
        return RandomCrops(
            self._clips, config.crop_samples, config.frontend.sample_rate, seed=seed, pad=config.data.pad
        )

    def statistics(self, frontend: LogMel, limit: int) -> NormStats:
        """See `Source`. The crops come from a stream of their own, apart from the training's."""
        crops = self._crops(mix_seeds(self._config.training.seed, STATISTICS_STREAM))
        return crop_statistics(
            crops,
            frontend,
            limit=limit,
            weights=self._weights,
            num_workers=self._workers,
            report=self.report,
            device=self._processes.device,
        )

    def batches(self, start_step: int, total_steps: int) -> Generator[Batch, None, None]:
        """See `Source`."""
        training, processes = self._config.training, self._processes
        clips = shares(self._config, processes)
        order = EpochOrder(self.clips_per_epoch, training.seed, self._weights)
        keys = StreamSampler(order, training.batch_size, clips)
        keys.span(start_step, total_steps)
        pinned = processes.device.type == "cuda"
        loaded = load_crops(self._crops(training.seed), keys, self._workers, pin_memory=pinned)
        feed = Feed(processes.device)
        for number, (crops, problems) in enumerate(loaded):
            self.report.extend(problems)
            yield Batch(feed(crops), clips[number % len(clips)])


class SynthTrainingSource:
    """Fresh synthetic sounds for ever, made on the device as they are needed."""

    clips_per_epoch = SYNTH_EPOCH

    def __init__(self, config: PretrainConfig, processes: Processes) -> None:
        self.report = FileReport()  # stays empty: no file, no bad file
        self._config, self._processes = config, processes

    def _synth(self, seed: int) -> SynthSource:
        config = self._config
        return SynthSource(seed, config.crop_samples, config.frontend.sample_rate, self._processes.device)

    def statistics(self, frontend: LogMel, limit: int) -> NormStats:
        """See `Source`."""
        synth = self._synth(mix_seeds(self._config.training.seed, STATISTICS_STREAM))
        accumulator = StatsAccumulator()
        with Progress("statistics", total=limit, unit="sound") as bar:
            for indices in torch.arange(limit, device=self._processes.device).split(128):
                accumulator.update(frontend(synth.batch(indices)))
                bar.advance(len(indices))
        return accumulator.result()

    def batches(self, start_step: int, total_steps: int) -> Generator[Batch, None, None]:
        """See `Source`."""
        synth = self._synth(self._config.training.seed)
        clips = shares(self._config, self._processes)
        for step in range(start_step, total_steps):
            origin = step * self._config.training.batch_size
            for part in clips:
                indices = torch.arange(origin + part.start, origin + part.stop, device=self._processes.device)
                yield Batch(synth.batch(indices), part)


class StreamSampler(Sampler[list[Key]]):
    """Batches of crop keys along the run's endless sequence; needs no state to be resumed.

    Args:
        order: of the clips in each epoch.
        batch_size: clips of one optimiser step.
        parts: which clips of each step to yield, one batch for each slice.
    """

    def __init__(self, order: EpochOrder, batch_size: int, parts: list[slice]) -> None:
        self._order, self._batch_size, self._parts = order, batch_size, parts
        self._steps = range(0)
        self._current: tuple[int, Order] | None = None

    def span(self, start_step: int, total_steps: int) -> None:
        """Choose the optimiser steps whose batches iteration yields."""
        self._steps = range(start_step, total_steps)

    def key(self, position: int) -> Key:
        """(epoch, index, repeat) of a position in the run's sequence."""
        epoch, place = divmod(position, self._order.size)
        if self._current is None or self._current[0] != epoch:
            self._current = epoch, self._order.epoch(epoch)
        order = self._current[1]
        return epoch, int(order.indices[place]), int(order.repeats[place])

    def __iter__(self) -> Iterator[list[Key]]:
        for step in self._steps:
            origin = step * self._batch_size
            for part in self._parts:
                yield [self.key(origin + clip) for clip in range(part.start, part.stop)]

    def __len__(self) -> int:
        return len(self._steps) * len(self._parts)


def resolve_workers(workers: int | str) -> int:
    """`auto` leaves one of a process's cores to training and takes at most 8; at least one worker."""
    if isinstance(workers, int):
        return workers
    sharers = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun: the processes of this machine
    return min(8, max(1, available_cores() // sharers - 1))
