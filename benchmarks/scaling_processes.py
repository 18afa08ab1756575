"""Time per optimiser step against processes; a part of benchmarks/scaling.py.

As a program, started by torchrun or alone, it takes steps of one process among its peers, and prints JSON:

    torchrun --standalone --nproc-per-node 2 benchmarks/scaling_processes.py DEVICE STEPS RECIPE [KEY=VALUE ...]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from byol_a.allocator import keep_freed_memory
from byol_a.config import apply_overrides, build
from byol_a.data.worker_pool import available_cores
from byol_a.device import resolve_precision
from byol_a.normalize import NormStats
from byol_a.recipes import read_recipe
from byol_a.training.config import PretrainConfig
from byol_a.training.cost import ENDLESS, WARM_UP
from byol_a.training.distributed import join_processes
from byol_a.training.sources import shares
from byol_a.training.trainer import Trainer


def against_processes(
    device: torch.device, steps: int, rounds: int, recipe: str, overrides: Sequence[str]
) -> list[dict[str, Any]]:
    """Seconds of a step on the same batch by processes, medians over rounds in which all take their turn.

    On CPUs half of the cores, twice as many by a second process, and all of them in one process; else each GPU is a
    process, 1, 2, 4, ... as far as there are.
    """
    cases = [(1, 1)]
    if device.type == "cuda":
        while 2 * cases[-1][0] <= torch.cuda.device_count():
            cases.append((2 * cases[-1][0], 1))
    else:
        half = max(1, available_cores() // 2)
        cases = [(1, half), (2, half), (1, 2 * half)]
    seconds: dict[tuple[int, int], list[float]] = {case: [] for case in cases}
    for number in range(rounds):
        for processes, threads in cases if number % 2 == 0 else reversed(cases):
            launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes]
            command = [sys.executable, *(launcher if processes > 1 else [])]
            command += [__file__, device.type, steps, recipe, *overrides]
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
            done = subprocess.run([*map(str, command)], env=environment, stdout=subprocess.PIPE, text=True, check=True)
            seconds[processes, threads].append(json.loads(done.stdout.splitlines()[-1]))
    return [
        {"processes": processes, "threads": threads, "seconds": statistics.median(seconds[processes, threads])}
        for processes, threads in cases
    ]


def _take_steps(device: str, steps: str, recipe: str, *overrides: str) -> None:
    """Bare steps on random views; the main process prints the median, over steps, of the time of the last to end."""
    config = build(PretrainConfig, apply_overrides(read_recipe("pretrain", recipe), overrides), recipe)
    with join_processes(device) as processes:
        place = processes.device
        if place.type == "cpu":
            keep_freed_memory()
        precision = resolve_precision(config.training.precision, place)
        training = replace(config.training, precision=precision)
        config = replace(config, training=training, optimizer=config.optimizer.in_steps(1.0))
        trainer = Trainer(config, NormStats(0.0, 1.0), processes, ENDLESS)
        part, *others = shares(config, processes)
        frames = trainer.pipeline.frontend.frames_of(config.crop_samples)
        shape = (trainer.method.n_views, part.stop - part.start, 1, config.frontend.n_mels, frames)
        views = [torch.randn(shape, device=place)] * (1 + len(others))
        took = []
        for _ in range(WARM_UP + int(steps)):
            processes.any(False)  # all begin together
            began = time.perf_counter()
            trainer.update(views, len(views))
            if place.type == "cuda":
                torch.cuda.synchronize(place)
            took.append(time.perf_counter() - began)
        everyone = processes.gather(took[WARM_UP:])
        if processes.is_main:
            print(json.dumps(statistics.median(map(max, zip(*everyone, strict=True)))), flush=True)


if __name__ == "__main__":
    _take_steps(*sys.argv[1:])
