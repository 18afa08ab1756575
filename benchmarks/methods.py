"""What a training step of every method costs beside BYOL's with its MLP predictor, on this machine in one run.

    python benchmarks/methods.py [--json FILE] [--rounds N] [--device D] [RECIPE ...] [KEY=VALUE ...]

Each recipe is BYOL-A v2 (`byola_v2`, batch 256) with one piece changed; without RECIPE all of them. Steps on random
views, of BYOL and of the others, are taken in turns in one process, so that a noisy machine slows all alike. Figures
are medians over the rounds; beside them stands the most that a method is meant to cost.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import torch

from byol_a.allocator import keep_freed_memory
from byol_a.config import apply_overrides, build
from byol_a.device import pick_device, resolve_precision
from byol_a.recipes import read_recipe
from byol_a.training.config import PretrainConfig
from byol_a.training.cost import step_costs

REFERENCE = "byola_v2"
CLOSED_FORM = ("direct_copy", "least_squares", "neumann", "visser", "newton_schulz", "newton_schulz2", "stiefel")
# Recipes, and the most that their step is meant to take, in steps of the reference; None where nothing is promised.
TARGETS: dict[str, float | None] = {
    **dict.fromkeys(("no_predictor", "linear_predictor")),
    **dict.fromkeys(CLOSED_FORM, 1.1),
    "tribyol": 1.75,
    **dict.fromkeys(("ccsl", "cssl")),
    **dict.fromkeys(("layer_norm", "layer_norm_ws", "group_norm", "group_norm_ws", "no_norm", "no_norm_ws")),
    "uniformity": None,
    "mhe": 1.15,
    "byov": 2.0,
}


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, help="steps of each that are timed")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("arguments", nargs="*", metavar="RECIPE or KEY=VALUE")
    options = parser.parse_intermixed_args()
    overrides = [argument for argument in options.arguments if "=" in argument]
    names = [argument for argument in options.arguments if "=" not in argument] or list(TARGETS)
    figures = measure(names, overrides, options.rounds, options.device)
    print(report(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(names: list[str], overrides: list[str], rounds: int, device: str) -> dict[str, Any]:
    """All figures as a JSON-able dictionary; the same overrides hold for every recipe, and for BYOL."""
    configs = {
        name: build(PretrainConfig, apply_overrides(read_recipe("pretrain", name), overrides), name)
        for name in dict.fromkeys((REFERENCE, *names))
    }
    place, training = pick_device(device), configs[REFERENCE].training
    if place.type == "cpu":
        keep_freed_memory()  # as `byol-a pretrain` does
    costs = step_costs(configs, REFERENCE, rounds, device)
    return {
        "reference": REFERENCE,
        "batch_size": training.batch_size,
        "precision": resolve_precision(training.precision, place),
        "device": torch.cuda.get_device_name() if place.type == "cuda" else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "rounds": rounds,
        "methods": {name: {**cost._asdict(), "target": TARGETS.get(name)} for name, cost in costs.items()},
    }


def report(figures: dict[str, Any]) -> str:
    """The figures as a small table."""
    lines = [
        f"bare steps, batch {figures['batch_size']}, {figures['precision']}, {figures['device']}, "
        f"{figures['threads']} threads, torch {figures['torch']}, median of {figures['rounds']}",
        f"  {'recipe':<18} {'s/step':>8} {'x BYOL':>8} {'at most':>8}",
    ]
    for name, cost in figures["methods"].items():
        target = cost["target"]
        line = f"  {name:<18} {cost['seconds']:8.3f} {cost['relative']:8.2f}"
        if target is not None:
            line += f" {target:8.2f}" + ("" if cost["relative"] <= target else "  over")
        lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    main()
