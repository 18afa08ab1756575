"""How fast the input side is on this machine, beside its targets: crops, scanning, packing, a large index, sampling.

    python benchmarks/data.py [--json FILE] [--quick] [--files N] [--rows N] [--rounds N] [--folder DIR]

Crops of 0.95 s at 16 kHz, in batches of 256, go through the classes that `byol-a pretrain` reads with: from a store,
and from files of several kinds, synthesised for the purpose and in the page cache by the time they are measured; on
one core in this process, also by the time that it had the core, and through one worker process. A synthesised index of
two million rows is opened in fresh processes. What is compared is measured in turns, so that a noisy machine slows all
alike; each figure is the median over rounds. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import data_index
import numpy as np
import soundfile
import torch

from byol_a.data.clips import Clips, FileClips, StoreClips
from byol_a.data.crops import RandomCrops
from byol_a.data.index import AudioIndex
from byol_a.data.io import resample
from byol_a.data.loader import READ_AHEAD, load_crops
from byol_a.data.sampling import EpochOrder
from byol_a.data.scan.scan import scan
from byol_a.data.store.audio_store import SHARDS, AudioStore
from byol_a.data.store.pack import pack
from byol_a.data.synth import SynthSource
from byol_a.training.sources import StreamSampler

SAMPLE_RATE, CROP_SAMPLES = 16000, 15200
STORE = "store"


class Kind(NamedTuple):
    """A kind of file: a name for soundfile, rate in Hz and channels, and how many there are for one wav file."""

    extension: str
    sample_rate: int
    channels: int
    share: float


KINDS = {
    "wav": Kind("wav", 16000, 1, 1),
    "flac": Kind("flac", 16000, 1, 0.1),
    "mp3": Kind("mp3", 16000, 1, 0.1),
    "ogg": Kind("ogg", 16000, 1, 0.1),
    "wav 44.1 kHz stereo": Kind("wav", 44100, 2, 0.1),
    "mp3 44.1 kHz stereo": Kind("mp3", 44100, 2, 0.1),
    "flac in tar shards": Kind("tar", 16000, 1, 0.1),
}
LEAST_CROPS_PER_SECOND = {STORE: 20_000, "wav": 4_000}
MOST_OPEN_SECONDS, MOST_INDEX_MB, MOST_WORKER_MB, MOST_ORDER_SECONDS = 3.0, 600.0, 1.0, 1.0


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000, help="wav files, each once in the store (32 kB a second)")
    parser.add_argument("--clip-seconds", type=float, default=10.0, help="length of each")
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows of the synthesised index")
    parser.add_argument(
        "--rounds", type=int, default=6, help="measurements of each figure, the first of which does not count"
    )
    parser.add_argument("--batch-size", type=int, default=256, help="crops of a batch")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for one measurement of crops")
    parser.add_argument("--folder", type=Path, help="where to put the data, about 2 GB; a temporary folder by default")
    parser.add_argument("--quick", action="store_true", help="only see that it runs: little data, meaningless figures")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    if options.quick:
        options.files, options.clip_seconds, options.rows, options.rounds, options.seconds = 20, 1.5, 3000, 1, 0.01
        options.batch_size = 16
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = measure(Path(folder), options)
    print(report(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All figures as a JSON-able dictionary."""
    figures: dict[str, Any] = {"machine": machine(), "crop_bytes": 2 * CROP_SAMPLES}
    places = {name: folder / name.replace(" ", "-") for name in KINDS}
    sound = {
        name: options.clip_seconds * write_files(place, KINDS[name], options.files, options.clip_seconds)
        for name, place in places.items()
    }
    work: dict[str, Callable[[Path], Any]] = {"scan": scan_again, "pack": pack_again}
    for what, do in work.items():
        rates = in_turns((options.rounds + 1) // 2, {name: partial(speed, do, place) for name, place in places.items()})
        figures[f"{what}_audio_seconds_per_second"] = {name: rate * sound[name] for name, rate in rates.items()}
    figures["store_not_in_page_cache"] = cold_reads(stored(places["wav"]), options)
    clips: dict[str, Clips] = {STORE: StoreClips(AudioStore.open(stored(places["wav"])))}
    clips |= {name: FileClips(AudioIndex.read(indexed(place)), SAMPLE_RATE) for name, place in places.items()}
    clocks: dict[str, tuple[int, Callable[[], float]]] = {
        "crops_per_second_in_one_process": (0, time.perf_counter),
        "crops_per_cpu_second": (0, time.process_time),
        "crops_per_second_in_one_worker": (1, time.perf_counter),
    }
    for name, (workers, clock) in clocks.items():
        takes = {kind: partial(crops_per_second, one, workers, clock, options) for kind, one in clips.items()}
        figures[name] = in_turns(options.rounds, takes)
    figures["index"] = data_index.measure(folder, options.rows, options.rounds)
    return figures


def write_files(folder: Path, kind: Kind, wav_files: int, seconds: float) -> int:
    """Synthesised sounds, at most a hundred different ones, as files of a kind; returns how many."""
    folder.mkdir()
    count = max(2, round(kind.share * wav_files))
    synth = SynthSource(0, round(seconds * SAMPLE_RATE), SAMPLE_RATE)
    waves = [
        resample(wave, SAMPLE_RATE, kind.sample_rate) for wave in synth.batch(torch.arange(min(count, 100))).numpy()
    ]
    extension = "flac" if kind.extension == "tar" else kind.extension
    for number in range(count):
        channels = np.repeat(0.5 * waves[number % len(waves)][:, None], kind.channels, axis=1)
        soundfile.write(folder / f"{number:05d}.{extension}", channels, kind.sample_rate)
    if kind.extension == "tar":
        members = sorted(folder.iterdir())
        with tarfile.open(folder / "shard-000.tar", "w") as shard:
            for member in members:
                shard.add(member, member.name)
                member.unlink()
    return count


def scan_again(folder: Path) -> None:
    """Scan a folder with one worker, as if for the first time."""
    scan([folder], indexed(folder), workers=1, rescan=True, progress=False)


def pack_again(folder: Path) -> None:
    """Pack what was scanned with one worker, as if for the first time."""
    pack([indexed(folder)], stored(folder), workers=1, overwrite=True, progress=False)


def indexed(folder: Path) -> Path:
    """The index of a folder, beside it."""
    return folder.with_suffix(".parquet")


def stored(folder: Path) -> Path:
    """The store of a folder, beside it."""
    return folder.with_suffix(".store")


def speed(work: Callable[[Path], Any], place: Path) -> float:
    """How many times a second it can be done."""
    began = time.perf_counter()
    work(place)
    return 1 / (time.perf_counter() - began)


def crops_per_second(clips: Clips, workers: int, clock: Callable[[], float], options: argparse.Namespace) -> float:
    """Batches of an endless run, taken as fast as they come for some seconds of a clock."""
    keys = StreamSampler(EpochOrder(len(clips), seed=0), options.batch_size, [slice(0, options.batch_size)])
    keys.span(0, 10**9)
    batches = load_crops(RandomCrops(clips, CROP_SAMPLES, SAMPLE_RATE, seed=0), keys, workers)
    for _ in islice(batches, 1 + workers * READ_AHEAD):
        pass  # what a worker reads ahead; from then on it gives as many as it reads
    began, crops, elapsed = clock(), 0, 0.0
    while elapsed < options.seconds:
        waves, _ = next(batches)
        crops += len(waves)
        elapsed = clock() - began
    batches.close()
    return crops / elapsed


def cold_reads(store: Path, options: argparse.Namespace) -> dict[str, float]:
    """One batch from a store of which nothing is in the page cache, medians over rounds.

    The disk of a virtual machine may still have it in its host's memory; the bytes read count all the same.
    """
    found = []
    for number in range(options.rounds):
        for shard in (store / SHARDS).iterdir():
            with shard.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        clips = StoreClips(AudioStore.open(store, look_at_shards=False))
        rows = np.random.default_rng(number).integers(0, len(clips), options.batch_size)
        crops = RandomCrops(clips, CROP_SAMPLES, SAMPLE_RATE, seed=0)
        before, began = _bytes_read(), time.perf_counter()
        crops.batch([(number, int(row)) for row in rows])
        found.append((len(rows) / (time.perf_counter() - began), (_bytes_read() - before) / len(rows)))
    rates, read = zip(*found, strict=True)
    return {"crops_per_second": statistics.median(rates), "bytes_read_per_crop": statistics.median(read)}


def _bytes_read() -> int:
    return int(re.findall(r"^read_bytes: (\d+)$", Path("/proc/self/io").read_text(), re.MULTILINE)[0])


def in_turns(rounds: int, measurements: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """The median of each measurement over rounds in which all take their turn; the first of several only warms up."""
    values: dict[str, list[float]] = {name: [] for name in measurements}
    for _ in range(rounds):
        for name, take in measurements.items():
            values[name].append(take())
    return {name: statistics.median(found[1:] or found) for name, found in values.items()}


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "processor": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        **{package: version(package) for package in ("torch", "numpy", "pyarrow", "soundfile")},
    }


def report(figures: dict[str, Any]) -> str:
    """The figures beside their targets."""
    index = figures["index"]
    lines = [
        ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures["machine"].items()),
        "",
        f"{'crops/s of one core':<24}{'this process':>16}{'by CPU time':>14}{'one worker':>14}   target",
    ]
    for kind, rate in figures["crops_per_second_in_one_process"].items():
        by_cpu, through_worker = (figures[f"crops_per_{name}"][kind] for name in ("cpu_second", "second_in_one_worker"))
        least = LEAST_CROPS_PER_SECOND.get(kind)
        target = f">= {least:,} {_mark(min(rate, through_worker) >= least)}" if least else ""
        lines.append(f"  {kind:<22}{rate:>16,.0f}{by_cpu:>14,.0f}{through_worker:>14,.0f}   {target}".rstrip())
    cold = figures["store_not_in_page_cache"]
    lines.append(
        f"  store, not in the page cache: {cold['crops_per_second']:,.0f} crops/s, "
        f"{cold['bytes_read_per_crop'] / figures['crop_bytes']:.1f} bytes read for each byte of a crop"
    )
    lines += ["", f"{'seconds of sound a second':<30}{'scan':>14}{'pack':>14}"]
    for kind, rate in figures["scan_audio_seconds_per_second"].items():
        lines.append(f"  {kind:<28}{rate:>14,.0f}{figures['pack_audio_seconds_per_second'][kind]:>14,.0f}")
    more = index["worker_mb"] - index["worker_mb_of_small_index"]
    lines += [
        "",
        f"index of {index['rows']:,} rows, {index['file_mb']:.0f} MB",
        _line("opens in", index["open_seconds"], "s", MOST_OPEN_SECONDS),
        _line("memory of the main process", index["main_process_mb"], "MB", MOST_INDEX_MB),
        _line("  the most while it opens", index["main_process_peak_mb"], "MB", None),
        _line("memory of a worker", index["worker_mb"], "MB", None),
        _line("  more than with few rows", more, "MB", MOST_WORKER_MB),
    ]
    lines += [_line(f"order by {name}", s, "s", MOST_ORDER_SECONDS) for name, s in index["order_seconds"].items()]
    lines.append(_line("weights from AudioSet's tables", index["label_weights_seconds"], "s", None))
    return "\n".join(lines)


def _line(name: str, value: float, unit: str, most: float | None) -> str:
    target = "" if most is None else f"< {most:g} {unit} {_mark(value < most)}"
    return f"  {name:<34}{value:>8.2f} {unit:<2}   {target}".rstrip()


def _mark(is_met: bool) -> str:
    return "met" if is_met else "MISSED"


if __name__ == "__main__":
    main()
