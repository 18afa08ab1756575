"""What each idea of the fast path brings to a bare training step, one added to the other, in turns in one process.

python benchmarks/ideas.py [--rounds N] [--json FILE] [KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from byol_a.allocator import keep_freed_memory
from byol_a.config import apply_overrides, build
from byol_a.device import pick_device, resolve_precision
from byol_a.encoders import audiontt
from byol_a.kernels import Kernels, kernels_for
from byol_a.methods import byol, heads
from byol_a.normalize import NormStats
from byol_a.recipes import read_recipe
from byol_a.training.config import PretrainConfig
from byol_a.training.distributed import Processes
from byol_a.training.trainer import Trainer

Patch = dict[tuple[Any, str], Any]
"""What stands in the place of an attribute of a module or class while a variant takes a step."""


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="byola_v2")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args()
    changes = apply_overrides(read_recipe("pretrain", options.recipe), options.overrides)
    figures = measure(build(PretrainConfig, changes, options.recipe), pick_device(options.device), options.rounds)
    print(report(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def variants(kernels: Kernels) -> dict[str, Patch | None]:
    """From the plain path, which is None, to the whole fast one."""
    no_products = copy.copy(kernels)
    no_products.multiplies = False
    plain_mlp: Patch = {
        (audiontt, "relu_dropout"): lambda kernels, x, p: torch.nn.functional.dropout(x.relu(), p),
        (audiontt, "relu_pool_time"): lambda kernels, x: x.relu().amax(1) + x.relu().mean(1, dtype=torch.float32),
    }
    by_torch: Patch = {
        (audiontt, "kernels_for"): lambda device: no_products,
        (heads, "kernels_for"): lambda device: None,
    }
    one_by_one: Patch = {(byol.Branch, "views"): _one_by_one}
    found: dict[str, Patch | None] = {
        "plain path": None,
        "+ blocks in passes of their own": plain_mlp | by_torch | one_by_one,
        "+ ReLU with dropout, ReLU with pooling over time": by_torch | one_by_one,
        "+ all views in one batch": by_torch,
    }
    if kernels.multiplies:
        found["+ products of our own"] = {}
    return found


def _one_by_one(branch: Any, views: Tensor) -> tuple[Tensor, Tensor]:
    embeddings, projections = zip(*(branch(view) for view in views), strict=True)
    return torch.stack(embeddings), torch.stack(projections)


def measure(config: PretrainConfig, device: torch.device, rounds: int) -> dict[str, Any]:
    """Seconds of a step of every variant; all take the same steps of one trainer, in turns."""
    if device.type == "cpu":
        keep_freed_memory()
    kernels = kernels_for(device)
    if kernels is None:
        raise SystemExit(f"there are no kernels for {device}")
    precision = resolve_precision(config.training.precision, device)
    trainers = {
        fast: Trainer(
            replace(config, training=replace(config.training, precision=precision, fast=fast)),
            NormStats(0.0, 1.0),
            Processes(0, 1, device),
            10**9,
        )
        for fast in ("on", "off")
    }
    frames = trainers["on"].pipeline.frontend.frames_of(config.crop_samples)
    batch = config.training.batch_size
    views = torch.randn(trainers["on"].method.n_views, batch, 1, config.frontend.n_mels, frames, device=device)
    seconds: dict[str, list[float]] = {}
    for number in range(-2, rounds):
        for name, patch in variants(kernels).items():
            trainer = trainers["off" if patch is None else "on"]
            took = _timed(lambda trainer=trainer: trainer.update([views]), patch or {}, device)
            if number >= 0:
                seconds.setdefault(name, []).append(took)
    return {
        "batch_size": batch,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "times_plain": {
            name: statistics.median(a / b for a, b in zip(seconds["plain path"], values, strict=True))
            for name, values in seconds.items()
        },
    }


def _timed(work: Callable[[], object], patch: Patch, device: torch.device) -> float:
    before = {(owner, name): getattr(owner, name) for owner, name in patch}
    for (owner, name), value in patch.items():
        setattr(owner, name, value)
    try:
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began
    finally:
        for (owner, name), value in before.items():
            setattr(owner, name, value)


def report(figures: dict[str, Any]) -> str:
    """The figures as a table."""
    lines = [f"bare step, batch {figures['batch_size']}, {figures['precision']}, {figures['threads']} threads"]
    for name, seconds in figures["seconds"].items():
        rate = figures["batch_size"] / seconds
        lines.append(f"  {name:<52} {rate:8.1f} clips/s  {figures['times_plain'][name]:5.2f} x plain")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
