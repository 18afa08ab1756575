"""A recipe small enough to train in a test, and the command line as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RECIPE = """\
encoder: {name: AudioNTT2020, options: {embedding_dim: 16}}
frontend: {n_mels: 16, hop_length: 320}
augment: {mixup: {max_ratio: 0.4, memory: 20}}
method: {projector: {hidden: 16, out: 8}, predictor: {hidden: 16}}
optimizer: {lr: 1.0e-3}
data: {crop_seconds: 0.5, workers: 1}
normalization: {crops: 24}
training: {batch_size: 8, precision: float32, log_every: 1, checkpoint_every: 4}
"""


def values() -> dict[str, Any]:
    """The small recipe as nested dictionaries."""
    import yaml

    result: dict[str, Any] = yaml.safe_load(RECIPE)
    return result


def command(*arguments: object, launcher: tuple[str, ...] = ("-m", "byol_a")) -> list[str]:
    """The command line of `byol-a ...` under this interpreter."""
    return [sys.executable, *launcher, *(str(argument) for argument in arguments)]


def environment() -> dict[str, str]:
    """One thread each: tests share few cores, and thread counts are part of bit-identity."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def byol_a(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `byol-a ...` to its end.

    What it says goes to files: a pipe would keep the test waiting for whatever process still holds its other end.
    """
    line = command(*arguments, **options)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        done = subprocess.run(line, env=environment(), stdout=out, stderr=errors, timeout=300, check=False)
        said = [(stream.seek(0), stream.read())[1] for stream in (out, errors)]
    return subprocess.CompletedProcess(line, done.returncode, *said)


def losses(run: Path) -> dict[int, float]:
    """Loss by step from a run's metrics.jsonl."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len({row["step"] for row in rows}) == len(rows), "a step is logged twice"
    return {row["step"]: row["loss"] for row in rows}
