"""Time per optimiser step against batch, width and length of crops; a part of benchmarks/scaling.py.

As a program it finds what memory a step takes for each clip, in a fresh process, and prints it in bytes:

    python benchmarks/scaling_steps.py DEVICE CLIPS RECIPE [KEY=VALUE ...]
"""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls

from byol_a.allocator import keep_freed_memory
from byol_a.config import apply_overrides, build
from byol_a.encoders import create_encoder
from byol_a.recipes import read_recipe
from byol_a.training.config import PretrainConfig
from byol_a.training.cost import step_costs

# In quotes: YAML takes a bare off for false.
PATHS = {"fast": ("training.fast='auto'",), "plain": ("training.fast='off'",)}
WIDTH = {"byola_v1": "encoder.options.embedding_dim", "byola_v2": "encoder.options.hidden_dim"}
"""Of both encoders, the setting that D goes by."""
SHARE = {"cpu": 0.5, "cuda": 0.8}
"""Of the memory that is free, what a step may take by reckoning before its batch is accumulated in parts."""


@dataclass(frozen=True)
class Steps:
    """Which steps are measured, and how.

    Attributes:
        recipe: of the steps whose batch or crops vary; D varies in those of `WIDTH`.
        overrides: settings of all steps.
        device: where.
        rounds: steps of each that are timed.
        probe: clips by which memory is reckoned: a step on so many, and one on twice as many.
    """

    recipe: str
    overrides: tuple[str, ...]
    device: torch.device
    rounds: int
    probe: int

    def config(self, *changes: str, recipe: str | None = None) -> PretrainConfig:
        """The configuration of a step, with some settings changed."""
        name = recipe or self.recipe
        values = apply_overrides(read_recipe("pretrain", name), [*self.overrides, *changes])
        return build(PretrainConfig, values, name)


class Line(NamedTuple):
    """A straight line: `fixed` seconds, and `each` more for every unit."""

    fixed: float
    each: float


def against_batch(steps: Steps, batches: Sequence[int], paths: Iterable[str]) -> list[dict[str, Any]]:
    """Seconds of a step by batch, of each path; larger batches than memory takes at once are accumulated."""
    room = _room(steps.device)
    points = {}
    for path in paths:
        each = _bytes_per_clip(steps, PATHS[path])
        for batch in batches:
            parts = parts_for(batch, each, room)
            changes = (*PATHS[path], f"training.batch_size={batch}", f"training.accumulate={parts}")
            about = {"path": path, "batch": batch, "parts": parts, "bytes_per_clip": each}
            points[f"{path} {batch}"] = about, steps.config(*changes)
    # The same batch of the paths side by side: they are what is compared.
    return _timed(steps, dict(sorted(points.items(), key=lambda point: point[1][0]["batch"])))


def against_width(steps: Steps, widths: Mapping[str, Sequence[int]], batch: int) -> list[dict[str, Any]]:
    """Seconds of a step by D, of each recipe."""
    points = {}
    for recipe, values in widths.items():
        for width in values:
            changes = (*PATHS["fast"], f"{WIDTH[recipe]}={width}", f"training.batch_size={batch}")
            config = steps.config(*changes, recipe=recipe)
            encoder = create_encoder(config.encoder.name, config.frontend.n_mels, **config.encoder_options)
            about = {
                "recipe": recipe,
                "width": width,
                "dimension": encoder.embedding_dim,
                "parameters": sum(value.numel() for value in encoder.parameters()),
                "batch": batch,
            }
            points[f"{recipe} {width}"] = about, config
    return _timed(steps, points)


def against_crop(steps: Steps, lengths: Sequence[float], batch: int) -> list[dict[str, Any]]:
    """Seconds of a step by seconds of a crop."""
    room, each = _room(steps.device), _bytes_per_clip(steps, PATHS["fast"])
    usual = steps.config().data.crop_seconds
    points = {}
    for length in lengths:
        parts = parts_for(batch, each * length / usual, room)
        changes = (f"data.crop_seconds={length}", f"training.batch_size={batch}", f"training.accumulate={parts}")
        about = {"crop_seconds": length, "batch": batch, "parts": parts}
        points[f"{length} s"] = about, steps.config(*PATHS["fast"], *changes)
    return _timed(steps, points)


def line_through(units: Sequence[float], seconds: Sequence[float]) -> Line:
    """The line of no negative part that fits best in relative terms: 10 s count no more than 0.1 s."""
    x, y = np.asarray(units, float), np.asarray(seconds, float)
    (fixed, each), _ = nnls(np.stack([1 / y, x / y], axis=1), np.ones(len(y)))
    return Line(float(fixed), float(each))


def parts_for(batch: int, bytes_per_clip: float, room: float) -> int:
    """How many equal parts a batch is accumulated in: a power of two, so that each fits the room."""
    parts = 1
    while batch / parts * bytes_per_clip > room and batch // (2 * parts) >= 2:
        parts *= 2
    return parts


def _timed(steps: Steps, points: Mapping[str, tuple[dict[str, Any], PretrainConfig]]) -> list[dict[str, Any]]:
    configs = {name: config for name, (_, config) in points.items()}
    # One of middling length: the cheapest would be timed worst, and the dearest is taken once for every few others.
    reference = list(configs)[len(configs) // 3]
    costs = step_costs(configs, reference, steps.rounds, str(steps.device))
    return [{**about, "seconds": costs[name].seconds} for name, (about, _) in points.items()]


def _room(device: torch.device) -> float:
    """Bytes that a step may take."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
    else:
        match = re.search(r"^MemAvailable:\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
        free = int(match[1]) * 1024 if match else 0
    return SHARE[device.type] * free


@cache
def _bytes_per_clip(steps: Steps, path: tuple[str, ...]) -> float:
    command = [sys.executable, __file__, str(steps.device), str(steps.probe), steps.recipe, *steps.overrides, *path]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def _peak(device: torch.device) -> int:
    """The most bytes that this process has taken so far, of the device's memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _print_bytes_per_clip(device: str, probe: str, recipe: str, *overrides: str) -> None:
    steps = Steps(recipe, overrides, torch.device(device), rounds=1, probe=int(probe))
    if steps.device.type == "cpu":
        keep_freed_memory()
    peaks = []
    for clips in (steps.probe, 2 * steps.probe):
        step_costs({recipe: steps.config(f"training.batch_size={clips}")}, recipe, steps.rounds, device)
        peaks.append(_peak(steps.device))
    print((peaks[1] - peaks[0]) / steps.probe)


if __name__ == "__main__":
    _print_bytes_per_clip(*sys.argv[1:])
