"""How cost grows: time per step against batch, width, crop length and processes, and an epoch's against the data.

    python benchmarks/scaling.py [--figure PNG] [--json FILE] [--only PART ...] [--quick] [KEY=VALUE ...]

Steps are bare (random views in), of `byola_v2` where nothing else is said, by the kernels and by the plain path; those
that are compared are taken in turns in one process. Larger batches than memory takes at once are accumulated in parts,
which the table says. Data are listed, opened, ordered and cropped on one core, up to 2,000,000 clips of which only
some are real. Prints tables in Markdown; the figure is in docs/scale.md. About 25 minutes on two cores; Linux only.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import machine
import scaling_data
from plan import table
from scaling_figure import draw, flatness, lines
from scaling_processes import against_processes
from scaling_steps import PATHS, Steps, against_batch, against_crop, against_width

from byol_a.allocator import keep_freed_memory
from byol_a.device import pick_device, resolve_precision
from byol_a.kernels.switch import kernels_for

STEEPEST = 1.5
"""What an epoch may cost for each of the most clips, by what it costs for each of the fewest, to be called flat."""


@dataclass(frozen=True)
class Extent:
    """How far each part goes."""

    batches: tuple[int, ...]
    widths: dict[str, tuple[int, ...]]  # by recipe; see `scaling_steps.WIDTH`
    crops: tuple[float, ...]  # seconds
    clips: tuple[int, ...]
    width_batch: int
    crop_batch: int
    process_batch: int
    probe: int  # clips by which memory is reckoned
    steps: int  # of a process among its peers, in a round
    read: int  # batches of crops
    overrides: tuple[str, ...] = ()


FULL = Extent(
    batches=(32, 64, 128, 256, 512, 1024, 2048, 4096),
    widths={"byola_v1": (512, 1024, 2048), "byola_v2": (512, 1024, 2048, 4096)},
    crops=(0.95, 2, 5, 10),
    clips=(1000, 10_000, 100_000, 500_000, 2_000_000),
    width_batch=128,
    crop_batch=64,
    process_batch=128,
    probe=64,
    steps=6,
    read=64,
)
QUICK = Extent(
    batches=(4, 8, 16),
    widths={"byola_v1": (16, 32), "byola_v2": (16, 32)},
    crops=(0.5, 1),
    clips=(500, 2000),
    width_batch=4,
    crop_batch=4,
    process_batch=8,
    probe=4,
    steps=1,
    read=2,
    overrides=("encoder.options.channels=16", "method.projector.hidden=32", "method.predictor.hidden=32"),
)


def main() -> None:
    """Measure, print and draw; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="byola_v2")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=4, help="steps of each that are timed, after two that are not")
    parser.add_argument("--only", nargs="+", choices=("batch", "width", "crop", "processes", "data"), help="parts")
    parser.add_argument("--folder", type=Path, help="where to put 1 GB of data; a temporary folder by default")
    parser.add_argument("--quick", action="store_true", help="only see that it runs: small sizes, meaningless figures")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--figure", type=Path, help="draw them into this PNG")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_intermixed_args()
    figures = measure(options, QUICK if options.quick else FULL)
    print(report(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    if options.figure:
        draw(figures, options.figure)


def measure(options: argparse.Namespace, extent: Extent) -> dict[str, Any]:
    """All figures as a JSON-able dictionary."""
    device, rounds = pick_device(options.device), 1 if options.quick else options.rounds
    if device.type == "cpu":
        keep_freed_memory()  # as `byol-a pretrain` does
    kernels = kernels_for(device)
    overrides = (*extent.overrides, *options.overrides)
    steps = Steps(options.recipe, overrides, device, rounds, extent.probe)

    def data() -> list[dict[str, Any]]:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            return scaling_data.measure(Path(folder), extent.clips, extent.read, rounds)

    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "batch": partial(against_batch, steps, extent.batches, PATHS if kernels else ["plain"]),
        "width": partial(against_width, steps, extent.widths, extent.width_batch),
        "crop": partial(against_crop, steps, extent.crops, extent.crop_batch),
        "processes": partial(
            against_processes,
            device,
            extent.steps,
            (rounds + 1) // 2,
            options.recipe,
            [*overrides, f"training.batch_size={extent.process_batch}"],
        ),
        "data": data,
    }
    figures: dict[str, Any] = {
        "machine": machine.facts(device),
        "recipe": options.recipe,
        "precision": resolve_precision(steps.config().training.precision, device),
        "kernels": kernels.name if kernels else None,
        "rounds": rounds,
        "process_batch": extent.process_batch,
        "seconds_taken": {},
    }
    for name in options.only or parts:
        began = time.perf_counter()
        figures[name] = parts[name]()
        figures["seconds_taken"][name] = time.perf_counter() - began
    return figures


def report(figures: dict[str, Any]) -> str:
    """The figures as Markdown tables, those that were measured."""
    taken = sum(figures["seconds_taken"].values()) / 60
    blocks = [
        f"{machine.described(figures['machine'])}, {figures['precision']}, kernels: {figures['kernels'] or 'none'}, "
        f"{figures['recipe']}; took {taken:.1f} min"
    ]
    of = {"batch": _of_batch, "width": _of_width, "crop": _of_crop, "processes": _of_processes, "data": _of_data}
    blocks += [write(figures) for name, write in of.items() if name in figures]
    for name, line in lines(figures).items():
        blocks.append(f"{name}: {1000 * line.fixed:,.0f} ms + {1000 * line.each:,.2f} ms for each")
    return "\n\n".join(blocks)


def _of_batch(figures: dict[str, Any]) -> str:
    rows = [
        (
            f"{one['batch']:,}",
            one["path"],
            _parts(one),
            f"{one['seconds']:,.3f}",
            f"{one['batch'] / one['seconds']:,.1f}",
        )
        for one in figures["batch"]
    ]
    return table([("batch", "path", "accumulated", "s/step", "clips/s"), *rows])


def _of_width(figures: dict[str, Any]) -> str:
    rows = [
        (
            one["recipe"],
            f"{one['width']:,}",
            f"{one['dimension']:,}",
            f"{one['parameters'] / 1e6:.2f} M",
            f"{one['seconds']:,.3f}",
            f"{one['batch'] / one['seconds']:,.1f}",
        )
        for one in figures["width"]
    ]
    return table([("recipe", "width of the MLP", "D", "parameters", "s/step", "clips/s"), *rows])


def _of_crop(figures: dict[str, Any]) -> str:
    rows = [
        (
            f"{one['crop_seconds']:g} s",
            f"{one['batch']}",
            _parts(one),
            f"{one['seconds']:,.3f}",
            f"{one['batch'] * one['crop_seconds'] / one['seconds']:,.1f}",
        )
        for one in figures["crop"]
    ]
    return table([("crop", "batch", "accumulated", "s/step", "seconds of sound/s"), *rows])


def _of_processes(figures: dict[str, Any]) -> str:
    first = figures["processes"][0]["seconds"]
    rows = [
        (f"{one['processes']}", f"{one['threads']}", f"{one['seconds']:,.3f}", f"{first / one['seconds']:.2f}")
        for one in figures["processes"]
    ]
    return table(
        [(f"processes, batch {figures['process_batch']}", "threads of each", "s/step", "times as fast"), *rows]
    )


def _of_data(figures: dict[str, Any]) -> str:
    kinds, opened = (list(figures["data"][0][name]) for name in ("epoch_us", "open_seconds"))
    head = ["clips", *(f"opening the {kind}, s" for kind in opened), "an order, s", *(f"{kind}, µs" for kind in kinds)]
    rows = [
        (
            f"{one['clips']:,}",
            *(f"{one['open_seconds'][kind]:.2f}" for kind in opened),
            f"{one['order_seconds']:.3f}",
            *(f"{one['epoch_us'][kind]:.1f}" for kind in kinds),
        )
        for one in figures["data"]
    ]
    ratios = flatness(figures["data"])
    said = ", ".join(f"{kind} {ratio:.2f}" for kind, ratio in ratios.items())
    mark = "met" if max(ratios.values()) <= STEEPEST else "MISSED"
    most, fewest = figures["data"][-1]["clips"], figures["data"][0]["clips"]
    return (
        f"{table([head, *rows])}\n\nan epoch's cost for each of {most:,} clips by that for each of {fewest:,}: {said} "
        f"(target: at most {STEEPEST:g}, {mark})"
    )


def _parts(one: dict[str, Any]) -> str:
    return "" if one["parts"] == 1 else f"{one['parts']} x {one['batch'] // one['parts']}"


if __name__ == "__main__":
    main()
