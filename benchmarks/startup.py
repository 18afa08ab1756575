"""How long commands take from the shell to what they say first, beside the targets, and which imports that is.

    python benchmarks/startup.py [--rounds N] [--model MODEL] [--profile] [--json FILE]

Each command is started as a shell starts it, in turns with all others, and the median over rounds is given: the time
that passes until it has ended, and the processor's time. What it reads is in the page cache, and bytecode is cached, as
after any first use. `byol-a embed` embeds one short wav file on the CPU and writes the store, so that the first
embedding is there earlier than what is given. `--profile` adds what each package that it imports takes to import.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import machine
import numpy as np
import soundfile

from byol_a import BYOLA, FrontendConfig, NormStats
from byol_a.cli import cli

HELP_SECONDS, EMBED_SECONDS = 0.3, 3.0
SAMPLE_RATE, AUDIO_SECONDS = 16_000, 3
LEAST_SHOWN = 0.005  # seconds of importing
OUR_PACKAGES = ("byol_a", "downstream")


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--model", help="model folder; by default AudioNTT2022 (3072-d) with random weights")
    parser.add_argument(
        "--commands", nargs="+", default=cli.list_commands(click.Context(cli)), help="whose --help to measure"
    )
    parser.add_argument("--profile", action="store_true", help="also what embed imports")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        embedding = prepare(Path(folder), options.model)
        starts = {"byol-a --help": ["--help"], "byol-a --version": ["--version"]}
        starts |= {f"byol-a {name} --help": [name, "--help"] for name in options.commands}
        starts["byol-a embed, no such model"] = ["embed", f"{folder}/none", *embedding[2:]]
        starts["byol-a embed"] = embedding
        lines = {name: [*program(), *arguments] for name, arguments in starts.items()}
        lines["python, nothing"] = [sys.executable, "-c", ""]
        lines["python, import torch"] = [sys.executable, "-c", "import torch"]
        figures: dict[str, Any] = {"machine": machine.facts(), "commands": measure(lines, options.rounds)}
        if options.profile:
            figures["embed_imports"] = import_seconds([sys.executable, "-m", "byol_a", *embedding])
    print(report(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def prepare(folder: Path, model: str | None) -> list[str]:
    """A model if none is given, a wav file, and the arguments of the `byol-a` that embeds it."""
    if model is None:
        model = str(folder / "model")
        BYOLA("AudioNTT2022", {}, FrontendConfig(), NormStats(-7.0, 4.0)).save_pretrained(model)
    noise = 0.1 * np.random.default_rng(0).standard_normal(AUDIO_SECONDS * SAMPLE_RATE)
    soundfile.write(folder / "sound.wav", noise, SAMPLE_RATE, subtype="PCM_16")
    place = ["--out", str(folder / "store"), "--overwrite", "--device", "cpu"]
    return ["embed", model, str(folder / "sound.wav"), *place]


def program() -> list[str]:
    """What the shell runs for `byol-a`: the installed program, or the package where there is none."""
    installed = Path(sys.executable).with_name("byol-a")
    return [str(installed)] if installed.is_file() else [sys.executable, "-m", "byol_a"]


def measure(lines: dict[str, list[str]], rounds: int) -> dict[str, dict[str, float]]:
    """Medians of seconds and of processor seconds for each command line; the first round is not counted."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in lines}
    for number in range(1 + rounds):
        for name, line in lines.items():
            before, began = _children_seconds(), time.perf_counter()
            done = subprocess.run(line, env=_environment(), capture_output=True, check=False)
            seconds = time.perf_counter() - began
            if done.returncode not in (0, 2):
                raise RuntimeError(f"{name} failed: {done.stderr.decode()}")
            if number > 0:
                taken[name].append((seconds, _children_seconds() - before))
    return {
        name: {"seconds": statistics.median(wall), "cpu_seconds": statistics.median(cpu)}
        for name, (wall, cpu) in ((name, zip(*pairs, strict=True)) for name, pairs in taken.items())
    }


def import_seconds(line: list[str]) -> dict[str, float]:
    """Seconds that a program spends to import each package, those that another package needs counted as their own.

    What it takes from Python's library counts for the package that asked for it first.
    """
    done = subprocess.run(
        [line[0], "-X", "importtime", *line[1:]], env=_environment(), capture_output=True, text=True, check=True
    )
    seconds: dict[str, float] = {}
    for owner, taken in _owners(done.stderr):
        seconds[owner] = seconds.get(owner, 0.0) + taken
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def _owners(trace: str) -> Iterator[tuple[str, float]]:
    """The package that each line of `-X importtime` counts for, and its own seconds."""
    above: list[str] = []  # who owns the modules that lead to this one
    # A module is printed after what it imports, one step less to the right: backwards it stands before.
    for line in reversed([line for line in trace.splitlines() if line.startswith("import time:")]):
        own, _, name = line.removeprefix("import time:").split("|")
        if not own.strip().isdecimal():
            continue  # the heading
        depth, package = (len(name) - len(name.lstrip()) - 1) // 2, name.strip().partition(".")[0]
        del above[depth:]
        if package in OUR_PACKAGES:
            owner = "byol-a"
        elif package in sys.stdlib_module_names:
            owner = above[-1] if above else "Python"
        else:
            owner = package
        above += [owner] * (depth + 1 - len(above))
        yield owner, int(own) / 1e6


def report(figures: dict[str, Any]) -> str:
    """The figures as two tables."""
    lines = [machine.described(figures["machine"]), f"{'':32}{'seconds':>9}{'cpu':>9}   target"]
    for name, found in figures["commands"].items():
        target = EMBED_SECONDS if name == "byol-a embed" else HELP_SECONDS if "byol-a" in name else None
        beside = "" if target is None else f"   below {target:g}"
        lines.append(f"{name:32}{found['seconds']:9.3f}{found['cpu_seconds']:9.3f}{beside}")
    imports = figures.get("embed_imports", {})
    if imports:
        lines += ["", f"imports of byol-a embed: {sum(imports.values()):.2f} s, slower for being watched"]
        lines += [f"  {name:30}{taken:9.3f}" for name, taken in imports.items() if taken >= LEAST_SHOWN]
    return "\n".join(lines)


def _environment() -> dict[str, str]:
    """As of a shell: bytecode is cached whatever this program was started with."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
