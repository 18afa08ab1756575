"""Whether memory grows over a long pre-training: what its processes hold, every so many steps.

    python benchmarks/memory.py [--steps N] [--workers N] [--json FILE] [--data DIR ...] [KEY=VALUE ...]

A small model is trained by `byol-a pretrain` on files of several formats, some of them unusable, and its processes are
watched from outside. RSS is what a process has in memory, with what it shares; the workers' is summed. The slope is
that of a line through the second half of the figures: the first fills caches and buffers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

RECIPE: dict[str, Any] = {
    "encoder": {"name": "AudioNTT2020", "options": {"embedding_dim": 16}},
    "frontend": {"n_mels": 16, "hop_length": 320},
    "augment": {"mixup": {"memory": 200}},
    "method": {"projector": {"hidden": 16, "out": 8}, "predictor": {"hidden": 16}},
    "data": {"crop_seconds": 0.5},
    "normalization": {"crops": 100},
    "training": {"batch_size": 8, "precision": "float32", "log_every": 1, "checkpoint_every": 100},
}
FORMATS = ("wav", "flac", "ogg", "mp3")


def main() -> None:
    """Train, watch and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--samples", type=int, default=20, help="how often to look")
    parser.add_argument("--data", nargs="+", help="audio to read; by default files made for the purpose")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(options, Path(folder))
    print(report(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def write_files(folder: Path) -> Path:
    """Noise in several formats and rates, an empty file and one that is no audio."""
    import soundfile

    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(60):
        wave = 0.1 * rng.standard_normal(16_000 + 800 * number)
        rate = (16_000, 44_100)[number // len(FORMATS) % 2]
        soundfile.write(folder / f"{number}.{FORMATS[number % len(FORMATS)]}", wave, rate)
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("not audio")
    return folder


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures as a JSON-able dictionary."""
    recipe, run = folder / "small.yaml", folder / "run"
    recipe.write_text(yaml.safe_dump(RECIPE))
    command = [sys.executable, "-m", "byol_a", "pretrain", "--recipe", recipe, "--out", run, "--device", "cpu"]
    command += ["--steps", options.steps, f"data.workers={options.workers}", *options.overrides]
    command += ["--data", *(options.data or [write_files(folder / "audio")])]
    with (folder / "said").open("w+") as said:
        process = subprocess.Popen([*map(str, command)], stdout=said, stderr=subprocess.STDOUT)
        try:
            samples = watch(process, run / "metrics.jsonl", options.steps, options.samples)
        finally:
            process.kill()
            process.wait()
        if not samples:
            said.seek(0)
            raise SystemExit(said.read())
    return {
        "workers": options.workers,
        "steps": samples[-1]["step"],
        "samples": samples,
        "mb_per_1000_steps": {name: slope(samples, name) for name in ("main_mb", "workers_mb")},
    }


def watch(process: subprocess.Popen[bytes], metrics: Path, steps: int, count: int) -> list[dict[str, float]]:
    """Memory of the process and its workers each time another `steps / count` steps are done."""
    samples: list[dict[str, float]] = []
    while process.poll() is None and len(samples) < count - 1:
        step = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
        if step >= steps * (len(samples) + 1) / count:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            main, workers = rss(process.pid), sum(map(rss, children))
            samples.append({"step": step, "processes": len(children), "main_mb": main, "workers_mb": workers})
        time.sleep(0.02)
    return samples


def rss(pid: int | str) -> float:
    """Megabytes that a process has in memory; 0 if it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0.0)


def slope(samples: list[dict[str, float]], name: str) -> float:
    """Growth per 1,000 steps over the second half of the samples, by least squares."""
    half = samples[len(samples) // 2 :]
    steps, values = ([sample[key] for sample in half] for key in ("step", name))
    return float(np.polyfit(steps, values, 1)[0] * 1000)


def report(figures: dict[str, Any]) -> str:
    """The figures as a small table."""
    lines = [f"{figures['workers']} data workers, RSS in MB", f"{'step':>8} {'main':>9} {'workers':>9}"]
    lines += [f"{one['step']:8.0f} {one['main_mb']:9.1f} {one['workers_mb']:9.1f}" for one in figures["samples"]]
    growth = figures["mb_per_1000_steps"]
    lines.append(f"growth per 1,000 steps: main {growth['main_mb']:+.2f} MB, workers {growth['workers_mb']:+.2f} MB")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
