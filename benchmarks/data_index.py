"""An index like AudioSet's, synthesised, and what it costs to open and to sample; a part of benchmarks/data.py.

As a program it measures one opening, in a fresh process and as `byol-a pretrain` does it, and prints JSON:

    python benchmarks/data_index.py INDEX
"""

from __future__ import annotations

import json
import multiprocessing
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import soundfile
import torch

from byol_a.data.crops import RandomCrops
from byol_a.data.index import AudioIndex
from byol_a.data.labels import balanced_weights, read_labels
from byol_a.data.loader import load_crops
from byol_a.data.sampling import EpochOrder, duration_weights
from byol_a.training.clip_list import gather_clips
from byol_a.training.config import DataConfig
from byol_a.training.distributed import Processes

SAMPLE_RATE, CROP_SAMPLES = 16000, 15200
ID_LETTERS = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", "S1")
CLASSES = 527
# This many rows, evenly spread, are of files that exist, for a worker to read; the rest are names.
REAL_FILES = 250
SMALL_ROWS = 1000
BATCHES, BATCH = 16, 256


def measure(folder: Path, rows: int, rounds: int) -> dict[str, Any]:
    """Medians over rounds: seconds, and memory in MB."""
    large, small = make_index(folder / "large", rows), make_index(folder / "small", min(rows, SMALL_ROWS))
    write_segments(folder / "segments.csv", large)
    opened: dict[Path, list[dict[str, float]]] = {large: [], small: []}
    for _ in range(rounds):
        for index, found in opened.items():
            command = [sys.executable, __file__, str(index)]
            found.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))

    def median(index: Path, name: str) -> float:
        return statistics.median(found[name] for found in opened[index])

    return {
        "rows": rows,
        "file_mb": large.stat().st_size / 1e6,
        "open_seconds": median(large, "seconds"),
        "main_process_mb": median(large, "main_process_mb"),
        "main_process_peak_mb": median(large, "main_process_peak_mb"),
        "worker_mb": median(large, "worker_mb"),
        "worker_mb_of_small_index": median(small, "worker_mb"),
        **_sampling(AudioIndex.read(large, ["duration"]), folder / "segments.csv", rounds),
    }


def make_index(folder: Path, rows: int) -> Path:
    """Write an index of `rows` files below `folder`, of which about `REAL_FILES` exist."""
    rng = np.random.default_rng(rows)
    letters = ID_LETTERS[rng.integers(0, len(ID_LETTERS), (rows, 11))].view("S11").ravel().astype(str)
    paths = [f"part{part:02d}/Y{key}.wav" for part, key in zip(rng.integers(0, 41, rows), letters, strict=True)]
    frames = np.where(rng.random(rows) < 0.9, 10 * SAMPLE_RATE, rng.integers(SAMPLE_RATE, 10 * SAMPLE_RATE, rows))
    for row in real_rows(rows):
        path = folder / paths[row]
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.uniform(-0.1, 0.1, frames[row]), SAMPLE_RATE, subtype="PCM_16")
    level = rng.uniform(0.001, 1, rows).astype(np.float32)
    places = pa.py_buffer(np.arange(0, 16 * rows + 1, 16, dtype=np.int32))
    digests = pa.Array.from_buffers(pa.binary(), rows, [None, places, pa.py_buffer(rng.bytes(16 * rows))])
    table = pa.table(
        {
            "root": pa.array([str(folder.absolute())]).dictionary_encode().take(np.zeros(rows, int)),
            "path": pa.array(paths, pa.large_string()),
            "size": 44 + 2 * frames,
            "mtime_ns": 1_600_000_000_000_000_000 + rng.integers(0, 10**16, rows),
            "format": pa.array(["WAV"]).dictionary_encode().take(np.zeros(rows, int)),
            "subtype": pa.array(["PCM_16"]).dictionary_encode().take(np.zeros(rows, int)),
            "sample_rate": np.full(rows, SAMPLE_RATE, np.int32),
            "channels": np.ones(rows, np.int16),
            "frames": frames,
            "duration": frames / SAMPLE_RATE,
            "peak": level,
            "rms": level * rng.uniform(0.05, 0.3, rows).astype(np.float32),
            "silence": np.where(rng.random(rows) < 0.9, 0, rng.random(rows)).astype(np.float32),
            "digest": digests,
        }
    )
    AudioIndex(table).write(folder / "index.parquet")
    return folder / "index.parquet"


def write_segments(path: Path, index: Path) -> None:
    """Labels for the rows of an index, in the layout of AudioSet's tables: one to four each, some far commoner."""
    names = AudioIndex.read(index, []).table["path"].to_pylist()
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 5, len(names))
    labels = np.minimum(rng.zipf(1.3, (len(names), 4)), CLASSES)
    with path.open("w") as stream:
        stream.write("# Segments csv\n# num_ytids\n# YTID, start_seconds, end_seconds, positive_labels\n")
        for name, count, numbers in zip(names, counts, labels.tolist(), strict=True):
            cell = ",".join(f"/m/{number:05x}" for number in numbers[:count])
            stream.write(f'{name[-15:-4]}, 30.000, 40.000, "{cell}"\n')


def _sampling(index: AudioIndex, segments: Path, rounds: int) -> dict[str, Any]:
    """Seconds that an epoch's order takes, and those for the weights of AudioSet's tables."""
    began = time.perf_counter()
    by_label = balanced_weights(index.table["path"], read_labels([segments]))
    seconds = time.perf_counter() - began
    weights = {"file": None, "duration": duration_weights(index.array("duration")), "labels": by_label}
    orders = {name: EpochOrder(len(index), 0, weight) for name, weight in weights.items()}
    taken: dict[str, list[float]] = {name: [] for name in orders}
    for epoch in range(rounds):
        for name, order in orders.items():
            began = time.perf_counter()
            order.epoch(epoch)
            taken[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    return {"label_weights_seconds": seconds, "order_seconds": medians}


def real_rows(rows: int) -> range:
    """Which rows of an index of `rows` are of files that exist."""
    return range(0, rows, max(1, rows // REAL_FILES))


def _open(path: Path) -> dict[str, float]:
    """Open an index, read crops through one worker, and look at the memory of both processes."""
    torch.set_num_threads(1)
    before = _memory("self")
    began = time.perf_counter()
    clip_list, _ = gather_clips([path], DataConfig(), Processes(0, 1, torch.device("cpu")))
    clips = clip_list.open(SAMPLE_RATE)
    seconds = time.perf_counter() - began
    after = _memory("self")
    crops = RandomCrops(clips, CROP_SAMPLES, SAMPLE_RATE, seed=0)
    rows = np.random.default_rng(0).choice(real_rows(len(clips)), (BATCHES, BATCH))
    batches = load_crops(crops, [[(0, int(row), 0) for row in batch] for batch in rows], workers=1)
    for _ in range(BATCHES - 1):
        next(batches)
    (worker,) = multiprocessing.active_children()
    private = _memory(worker.pid, "smaps_rollup")["Private_Dirty"]
    batches.close()
    return {
        "seconds": seconds,
        "main_process_mb": after["VmRSS"] - before["VmRSS"],
        "main_process_peak_mb": after["VmHWM"] - before["VmRSS"],
        "worker_mb": private,
    }


def _memory(process: int | str | None, table: str = "status") -> dict[str, float]:
    """The entries of a table below /proc/PID that are in kB, as MB."""
    text = Path(f"/proc/{process}/{table}").read_text()
    return {name: int(value) * 1024 / 1e6 for name, value in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}


if __name__ == "__main__":
    print(json.dumps(_open(Path(sys.argv[1]))))
