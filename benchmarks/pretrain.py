"""How fast pre-training is, part by part, on this machine in one run.

    python benchmarks/pretrain.py [--baseline] [--fast both] [--isa] [--json FILE] [--data DIR ...] [KEY=VALUE ...]

Parts: `input` reads and cuts files; `views` turns waveforms into log-mels and two augmented views; `step` is the
bare training step on random tensors; `end to end` is all of them together, as `byol-a pretrain` runs them. They are
taken in turns, so that a noisy machine slows all alike; each figure is the median over rounds. Beside it stands what
is aimed at, for v2 on two cores or on one H100.

`--baseline` takes end-to-end steps of the straightforward implementation (`baseline.py`) in the same rounds. The
stages of a step are timed in steps of their own; what they compute and move at least, beside the peaks of a matrix
product and of a copy taken in every round, gives each one's share of what the machine can do. `--fast both` takes our
steps with and without the kernels; `--isa` runs everything again without the processor's bf16 instructions, which is
ONEDNN_MAX_CPU_ISA=AVX512_CORE in the environment, and in float32.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import machine
import torch
from baseline import refuse_others
from operations import Work, roofline, step_work
from pretrain_isa import measure_isas
from pretrain_report import report
from pretrain_runs import BaselineRun, OurRun, input_pass, peak_memory, write_files

from byol_a.allocator import keep_freed_memory
from byol_a.config import apply_overrides, build
from byol_a.device import pick_device
from byol_a.recipes import read_recipe
from byol_a.training.clip_list import gather_clips
from byol_a.training.config import PretrainConfig
from byol_a.training.distributed import Processes

MARKED_STEPS = 2  # in a round
ITEMS = 32


class Round(NamedTuple):
    """One round's measurements: seconds of each part for a clip, of each stage of a step, and the peaks."""

    seconds: dict[str, float]
    stages: dict[str, dict[str, float]]
    matrix_peak: float  # operations per second
    copy_bandwidth: float  # bytes per second


class Part(NamedTuple):
    """What is timed in every round: `clips` of it, after `prepare`, which is not."""

    clips: int
    work: Callable[[], object]
    prepare: Callable[[], object] = lambda: None

    def seconds(self) -> float:
        """Seconds that it takes for each clip."""
        self.prepare()
        began = time.perf_counter()
        self.work()
        return (time.perf_counter() - began) / self.clips


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="byola_v2")
    parser.add_argument("--data", nargs="+", help="audio, an index or a store; by default 16 kHz wav files made here")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each part")
    parser.add_argument("--steps", type=int, default=8, help="training steps of a measurement")
    parser.add_argument("--baseline", action="store_true", help="the straightforward implementation too")
    parser.add_argument("--baseline-steps", type=int, default=2, metavar="N", help="its steps of a measurement")
    parser.add_argument("--fast", choices=("auto", "on", "off", "both"), help="training.fast; both: on and off")
    parser.add_argument("--isa", action="store_true", help="also without bf16 instructions, and in float32")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args()
    if options.isa and pick_device(options.device).type != "cpu":
        parser.error("--isa is about the instructions of a CPU; add --device cpu")
    if options.isa:
        figures: dict[str, Any] = measure_isas(sys.argv[1:])
    else:
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(options, Path(folder))
    print(report(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def configured(options: argparse.Namespace, device: torch.device) -> dict[str, PretrainConfig]:
    """What to measure, by what `training.fast` is; the first is what the baseline is compared with."""
    smaller = ["training.batch_size=128"] if device.type == "cpu" else []
    overrides = ["training.precision=bf16", *smaller, *options.overrides]
    config = build(PretrainConfig, apply_overrides(read_recipe("pretrain", options.recipe), overrides), options.recipe)
    wanted = {None: (config.training.fast,), "both": ("on", "off")}.get(options.fast, (options.fast,))
    return {fast: replace(config, training=replace(config.training, fast=fast)) for fast in wanted}


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures as a JSON-able dictionary; files are made in `folder` where none are given."""
    processes = Processes(0, 1, pick_device(options.device))
    device = processes.device
    configs = configured(options, device)
    first, config = next(iter(configs.items()))
    if options.baseline:
        refuse_others(config)
    if device.type == "cpu":
        keep_freed_memory()  # as `byol-a pretrain` does
    facts = machine.facts(device)  # now, for the load
    clips, _ = gather_clips(options.data or [write_files(folder, config.frontend.sample_rate)], config.data, processes)
    batch, steps = config.training.batch_size, options.steps

    ours = {first: OurRun(config, clips, processes)}
    ours[first].use_up()
    memory = peak_memory(device)  # before anything else takes some
    ours |= {name: OurRun(other, clips, processes) for name, other in configs.items() if name != first}
    baseline = BaselineRun(config, clips, device) if options.baseline else None
    parts = {
        "input": Part(4 * steps * batch, lambda: input_pass(clips, config, processes, 4 * steps)),
        "views": Part(steps * batch, lambda: ours[first].make_views(steps)),
    }
    for name, run in ours.items():
        label = "" if name == first else f", fast {name}"
        parts[f"step{label}"] = Part(steps * batch, partial(run.bare_steps, steps))
        parts[f"end to end{label}"] = Part(steps * batch, partial(run.steps, steps), run.use_up)
    if baseline is not None:
        count = options.baseline_steps
        parts["baseline"] = Part(count * batch, partial(baseline.steps, count), baseline.use_up)

    rounds = []
    for _ in range(options.rounds + 1):
        seconds = {name: part.seconds() for name, part in parts.items()}
        stages = {f"fast {name}": run.marked_steps(MARKED_STEPS) for name, run in ours.items()}
        if baseline is not None:
            stages |= {"baseline": baseline.stages(), "baseline's clip": baseline.item_seconds(ITEMS)}
        element = torch.bfloat16 if config.training.precision == "bf16" else torch.float32
        rounds.append(Round(seconds, stages, machine.matrix_peak(device, element), machine.copy_bandwidth(device)))
    return {
        "recipe": options.recipe,
        "batch_size": batch,
        "precision": config.training.precision,
        "fast": first,
        "remark": ours[first].trainer.remark,
        "device": device.type,
        "machine": facts,
        "clips": len(clips),
        "rounds": options.rounds,
        "peak_memory_mb": memory,
        **summary(rounds[1:], step_work(config, ours[first].n_frames), batch),  # the first one warms up
    }


def summary(rounds: list[Round], work: dict[str, Work], batch: int) -> dict[str, Any]:
    """What the rounds say together: medians, ratios of what was taken in the same round, the best of the peaks."""

    def ratio(above: str, below: str) -> float:
        return statistics.median(one.seconds[above] / one.seconds[below] for one in rounds)

    clip = {name: statistics.median(one.seconds[name] for one in rounds) for name in rounds[0].seconds}
    stages = {
        name: {stage: statistics.median(one.stages[name][stage] for one in rounds) for stage in found}
        for name, found in rounds[0].stages.items()
    }
    matrix, copy = max(one.matrix_peak for one in rounds), max(one.copy_bandwidth for one in rounds)
    figures: dict[str, Any] = {
        "clips_per_second": {name: 1 / seconds for name, seconds in clip.items()},
        "end_to_end_over_step": ratio("step", "end to end"),
        "views_over_step": ratio("views", "step"),
        "stage_seconds": stages,
        "peaks": {"flops_per_second": matrix, "bytes_per_second": copy},
        "roofline": roofline(work, next(iter(stages.values())), clip["step"] * batch, matrix, copy),
    }
    if "baseline" in clip:
        figures["ratio_to_baseline"] = ratio("baseline", "end to end")
    if "end to end, fast off" in clip:
        figures["ratio_to_fast_off"] = ratio("end to end, fast off", "end to end")
    return figures


if __name__ == "__main__":
    main()
