"""How fast pre-training is, part by part, on this machine in one run.

    python benchmarks/pretrain.py [--json FILE] [--data DIR ...] [KEY=VALUE ...]

Parts: `input` reads and cuts files; `views` turns waveforms into log-mels and two augmented views; `step` is the
bare training step on random tensors; `end to end` is all of them together, as `byol-a pretrain` runs them. Bare and
whole steps alternate, so that a noisy machine slows both alike; each figure is the median over rounds.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from byol_a.allocator import keep_freed_memory
from byol_a.config import apply_overrides, build
from byol_a.data.files import find_audio
from byol_a.data.io import resample
from byol_a.device import pick_device
from byol_a.normalize import NormStats
from byol_a.recipes import read_recipe
from byol_a.training.clip_list import ClipList
from byol_a.training.config import PretrainConfig
from byol_a.training.distributed import Processes
from byol_a.training.sources import ClipSource, resolve_workers
from byol_a.training.trainer import Trainer

SYNTHETIC_FILES = 512
SYNTHETIC_SECONDS = 4.0


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="byola_v2")
    parser.add_argument("--data", nargs="+", help="audio to read; by default 16 kHz wav files made for the purpose")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each part")
    parser.add_argument("--steps", type=int, default=8, help="training steps of a measurement")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args()
    changes = ["training.batch_size=128", "training.precision=bf16", *options.overrides]
    config = build(PretrainConfig, apply_overrides(read_recipe("pretrain", options.recipe), changes), options.recipe)
    with tempfile.TemporaryDirectory() as folder:
        files = find_audio(options.data or [write_files(Path(folder), config.frontend.sample_rate)])
        figures = measure(config, files, options)
    print(report(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def write_files(folder: Path, sample_rate: int) -> Path:
    """Noise of different colours as 16-bit wav files at the front-end's rate."""
    import soundfile

    rng = np.random.default_rng(0)
    for number in range(SYNTHETIC_FILES):
        wave = resample(rng.standard_normal(round(SYNTHETIC_SECONDS * 8000)).astype(np.float32), 8000, sample_rate)
        soundfile.write(folder / f"{number:04d}.wav", 0.1 * wave, sample_rate, subtype="PCM_16")
    return folder


def measure(config: PretrainConfig, files: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    """All figures as a JSON-able dictionary."""
    processes = Processes(0, 1, pick_device(options.device))
    device, batch = processes.device, config.training.batch_size
    if device.type == "cpu":
        keep_freed_memory()  # as `byol-a pretrain` does
    trainer = Trainer(config, NormStats(-7.0, 4.5), processes, total_steps=10**9)
    source = ClipSource(ClipList.of_files(files), config, processes)
    endless = 10**9

    def synchronised(work: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(options.steps):
                work()
            if device.type == "cuda":
                torch.cuda.synchronize()

        return run

    frames = trainer.pipeline.frontend.frames_of(config.crop_samples)
    views = torch.randn(2, batch, 1, config.frontend.n_mels, frames, device=device)
    wave = next(iter(source.batches(0, 1))).wave
    params = trainer.pipeline.draw(batch, 0, 0, device)
    for _ in range(20):  # fill the mixup memory: an empty one would make the views cheaper than they are
        trainer.pipeline(wave, params)

    # Workers read ahead while other parts are measured. So input starts a fresh stream each time, and end to end
    # first uses up what was read ahead of it: what is timed is fetched at the pace of the steps.
    def input_only() -> None:
        for _ in source.batches(0, 4 * options.steps):
            pass

    def end_to_end(steps: int) -> None:
        for _ in range(steps):
            trainer.train_step([next(whole)])
        if device.type == "cuda":
            torch.cuda.synchronize()

    whole = source.batches(0, endless)
    read_ahead = 4 * resolve_workers(config.data.workers)
    parts: dict[str, tuple[int, Callable[[], None], Callable[[], None] | None]] = {
        "input": (4 * options.steps, input_only, None),
        "views": (options.steps, synchronised(lambda: trainer.pipeline(wave, params)), None),
        "step": (options.steps, synchronised(lambda: trainer.update([views])), None),
        "end to end": (options.steps, lambda: end_to_end(options.steps), lambda: end_to_end(read_ahead)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for round_number in range(options.rounds + 1):
        for name, (_, work, prepare) in parts.items():
            if prepare is not None:
                prepare()
            began = time.perf_counter()
            work()
            if round_number:  # the first round warms up
                seconds[name].append(time.perf_counter() - began)
    rates = {
        name: statistics.median(steps * batch / value for value in seconds[name])
        for name, (steps, _, _) in parts.items()
    }
    ratio = statistics.median(bare / full for bare, full in zip(seconds["step"], seconds["end to end"], strict=True))
    share = statistics.median(a / b for a, b in zip(seconds["views"], seconds["step"], strict=True))
    return {
        "recipe": options.recipe,
        "batch_size": batch,
        "precision": config.training.precision,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "files": len(files),
        "clips_per_second": rates,
        "end_to_end_over_step": ratio,
        "views_over_step": share,
        "peak_memory_mb": peak_memory(device),
    }


def peak_memory(device: torch.device) -> dict[str, float]:
    """Peak resident memory of this process and of its largest worker, and of the GPU, in MB."""
    peaks = {
        "process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "largest_worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }
    if device.type == "cuda":
        peaks["gpu"] = torch.cuda.max_memory_allocated() / 2**20
    return peaks


def report(figures: dict[str, Any]) -> str:
    """The figures as a small table."""
    lines = [
        f"{figures['recipe']}, batch {figures['batch_size']}, {figures['precision']}, {figures['device']}, "
        f"{figures['threads']} threads, torch {figures['torch']}, {figures['files']} files"
    ]
    lines += [f"  {name:<12} {rate:10.1f} clips/s" for name, rate in figures["clips_per_second"].items()]
    lines.append(f"  end to end / bare step      {figures['end_to_end_over_step']:.3f}")
    lines.append(f"  views / bare step (time)    {figures['views_over_step']:.3f}")
    for name, value in figures["peak_memory_mb"].items():
        lines.append(f"  peak memory, {name:<14} {value:7.0f} MB")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
