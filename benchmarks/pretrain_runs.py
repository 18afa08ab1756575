"""What `pretrain.py` times: our training as `byol-a pretrain` has it, the baseline's, and their data."""

from __future__ import annotations

import resource
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from baseline import Baseline
from baseline_views import log_mel_of
from stages import StageClock, watched

from byol_a.data.loader import READ_AHEAD
from byol_a.normalize import NormStats
from byol_a.training.clip_list import ClipList
from byol_a.training.config import PretrainConfig
from byol_a.training.distributed import Processes
from byol_a.training.look_ahead import STEPS_AHEAD, LookAhead
from byol_a.training.sources import ClipSource, resolve_workers
from byol_a.training.trainer import Trainer

SYNTHETIC_FILES = 512
SYNTHETIC_SECONDS = 4.0
STATS = NormStats(-7.0, 4.5)
ENDLESS = 10**9  # steps of a run, so that schedules stay where they begin


class OurRun:
    """Our training. Workers read ahead while other things are measured; `use_up` has that done with.

    Args:
        config: of the run, precision resolved.
        clips: to learn from.
        processes: this one.
    """

    def __init__(self, config: PretrainConfig, clips: ClipList, processes: Processes) -> None:
        training, self.device = config.training, processes.device
        self.trainer = Trainer(config, STATS, processes, ENDLESS)
        self.clock = StageClock(self.device)
        source = ClipSource(clips, config, processes)
        self._steps = iter(LookAhead(source.batches(0, ENDLESS), training.accumulate))
        self._ahead = READ_AHEAD * max(1, resolve_workers(config.data.workers)) // training.accumulate + STEPS_AHEAD + 1
        self.n_frames = self.trainer.pipeline.frontend.frames_of(config.crop_samples)
        part = training.batch_size // training.accumulate
        shape = (self.trainer.method.n_views, part, 1, config.frontend.n_mels, self.n_frames)
        self._random = [torch.randn(shape, device=self.device)] * training.accumulate
        self._parts = next(self._steps)
        self._params = self.trainer.pipeline.draw(training.batch_size, 0, 0, self.device)
        # An empty mixup memory would make the views cheaper than they are.
        memory = config.augment.mixup.memory if config.augment.mixup is not None else 0
        self.make_views(-(-memory // training.batch_size))

    def make_views(self, steps: int) -> None:
        """Front-end and views of the same batch, `steps` times."""
        for _ in range(steps):
            for part in self._parts:
                self.trainer.pipeline(part.wave, self._params[part.clips])
        wait(self.device)

    def bare_steps(self, steps: int) -> None:
        """Steps on random tensors."""
        for _ in range(steps):
            self.trainer.update(self._random, len(self._random))
        wait(self.device)

    def use_up(self) -> None:
        """Drop the batches read ahead, then take a step: what follows is fetched at the pace of the steps."""
        for _ in islice(self._steps, self._ahead):
            pass
        self.steps(1)

    def steps(self, steps: int) -> None:
        """Whole steps, as the training loop takes them, with its measurements now and then."""
        for parts in islice(self._steps, steps):
            output = self.trainer.train_step(parts)
            if self.trainer.step % self.trainer.config.training.log_every == 0:
                self.trainer.metrics(output)
        wait(self.device)

    def marked_steps(self, steps: int) -> dict[str, float]:
        """Seconds of each stage of whole steps."""
        with watched(self.trainer, self.clock):
            for _ in range(steps):
                self.clock.mark("input")
                parts = next(self._steps)
                self.clock.mark("views")
                self.trainer.train_step(parts)
            self.clock.mark("end")
        return self.clock.step_seconds()


class BaselineRun:
    """The straightforward implementation's training; see `OurRun`."""

    def __init__(self, config: PretrainConfig, clips: ClipList, device: torch.device) -> None:
        self.baseline = Baseline(config, clips.open(config.frontend.sample_rate), STATS, device)
        self.clock = StageClock(device)
        self._batches = self.baseline.batches()
        self._ahead = 2 * self.baseline.workers  # as torch's DataLoader reads

    def use_up(self) -> None:
        """Drop the batches read ahead, then take a step, whose marks are dropped too."""
        for _ in islice(self._batches, self._ahead):
            pass
        self.steps(1)
        self.stages()

    def steps(self, steps: int) -> None:
        """Whole steps, marked on the clock."""
        for _ in range(steps):
            self.clock.mark("input")
            batch = next(self._batches)
            self.clock.mark("views")
            self.baseline.update(self.baseline.post_norm(batch), self.clock.mark)
        self.clock.mark("end")
        wait(self.baseline.device)

    def stages(self) -> dict[str, float]:
        """Seconds of each stage of the steps since the last call."""
        return self.clock.step_seconds()

    def item_seconds(self, clips: int) -> dict[str, float]:
        """Seconds that a clip takes a worker, which has one thread, before it is in a batch."""
        dataset, clock = self.baseline.dataset, StageClock(torch.device("cpu"))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        for number in range(clips):
            clock.mark("input")
            wave = dataset.wave(number % len(dataset))
            clock.mark("front-end")
            log_mel = log_mel_of(wave, dataset.window, dataset.mel, dataset.config.frontend)
            clock.mark("views")
            dataset.views(log_mel)
        clock.mark("end")
        torch.set_num_threads(threads)
        return clock.step_seconds()


def input_pass(clips: ClipList, config: PretrainConfig, processes: Processes, batches: int) -> None:
    """Read and cut so many batches, from a fresh start."""
    for _ in ClipSource(clips, config, processes).batches(0, batches):
        pass
    wait(processes.device)


def wait(device: torch.device) -> None:
    """Until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def write_files(folder: Path, sample_rate: int) -> Path:
    """Noise of different colours as 16-bit wav files at the front-end's rate."""
    import soundfile  # here: a machine with nothing but a store needs neither

    from byol_a.data.io import resample

    rng = np.random.default_rng(0)
    for number in range(SYNTHETIC_FILES):
        wave = resample(rng.standard_normal(round(SYNTHETIC_SECONDS * 8000)).astype(np.float32), 8000, sample_rate)
        soundfile.write(folder / f"{number:04d}.wav", 0.1 * wave, sample_rate, subtype="PCM_16")
    return folder


def peak_memory(device: torch.device) -> dict[str, float]:
    """Peak resident memory of this process and of its largest worker, and of the GPU, in MB."""
    peaks = {
        "process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "largest_worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }
    if device.type == "cuda":
        peaks["gpu"] = torch.cuda.max_memory_allocated(device) / 2**20
    return peaks
