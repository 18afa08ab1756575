"""How many seconds of audio are embedded per second, beside the targets, on this machine in one run.

    python benchmarks/embed.py [--fast both] [--device cuda] [--json FILE] [--data DIR ...] [--model MODEL]

`encoder` encodes waveforms that are in memory; `files` is `byol-a embed`: reading, encoding and writing the store, in
float32 and in bf16, with the device's kernels and without (`--fast`), all in turns, so that a noisy machine slows all
alike. Each figure is the median over rounds. The stages are taken by themselves, on a CPU in one thread: what one core
spends on ten seconds of audio, of which as many are embedded at once as there are cores.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from embed_stages import stages

from byol_a import BYOLA, FrontendConfig, NormStats, find_audio
from byol_a.data.io import read_audio
from byol_a.device import PRECISIONS, pick_device
from byol_a.embed import embed

TARGETS = {"cpu": 400.0, "cuda": 20_000.0}  # of files, seconds per second: on two cores; on one H100
SWITCH = {"auto": ("auto",), "on": ("on",), "off": ("off",), "both": ("auto", "off")}


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="model folder; by default AudioNTT2022 (3072-d) with random weights")
    parser.add_argument("--data", nargs="+", help="audio to read; by default 16 kHz wav files made for the purpose")
    parser.add_argument("--files", type=int, default=120, help="how many files to make")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long they are on average")
    parser.add_argument("--spread", type=float, default=0.5, help="how far lengths differ from that, as a share of it")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--fast", choices=list(SWITCH), default="both")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not options.data:
            write_files(Path(folder) / "audio", options.files, options.seconds, options.spread)
        figures = measure(options, find_audio(options.data or [Path(folder) / "audio"]), Path(folder))
    print(report(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def write_files(folder: Path, count: int, seconds: float, spread: float) -> None:
    """White noise as 16-bit, 16 kHz wav files, lengths between `1 - spread` and `1 + spread` times `seconds`."""
    import soundfile

    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        length = round(16_000 * seconds * rng.uniform(1 - spread, 1 + spread))
        soundfile.write(folder / f"{number:05d}.wav", 0.1 * rng.standard_normal(length), 16_000, subtype="PCM_16")


def measure(options: argparse.Namespace, files: list[Path], folder: Path) -> dict[str, Any]:
    """All figures as a JSON-able dictionary."""
    if options.model:
        model = BYOLA.from_pretrained(options.model)
    else:
        torch.manual_seed(0)
        model = BYOLA("AudioNTT2022", {}, FrontendConfig(), NormStats(-7.0, 4.5))
    model = model.to(pick_device(options.device)).eval()
    waves = [read_audio(path, model.sample_rate) for path in files]
    audio_seconds = sum(map(len, waves)) / model.sample_rate

    def encode(precision: Any) -> None:
        model.encode(waves, batch_size=options.batch_size, precision=precision)

    def store(precision: Any) -> None:
        place, size = folder / "store", options.batch_size
        embed(model, files, place, batch_size=size, precision=precision, overwrite=True, progress=False)

    parts: dict[str, tuple[Any, Callable[[], None]]] = {
        f"{name}, {precision}{', fast off' if fast == 'off' else ''}": (fast, partial(work, precision))
        for name, work in (("encoder", encode), ("files", store))
        for precision in PRECISIONS
        for fast in SWITCH[options.fast]
    }
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    remarks = set()
    for round_number in range(options.rounds + 1):
        for name, (fast, work) in parts.items():
            remarks.add(model.use_fast(fast))
            began = time.perf_counter()
            work()
            if round_number:  # the first round warms up
                seconds[name].append(time.perf_counter() - began)
    rates = {name: audio_seconds / statistics.median(value) for name, value in seconds.items()}
    return {
        "machine": machine.facts(model.device),
        "encoder": model.encoder_name,
        "embedding_dim": model.embedding_dim,
        "batch_size": options.batch_size,
        "device": model.device.type,
        "fast": options.fast,
        "remarks": sorted(remark for remark in remarks if remark),
        "files": len(files),
        "audio_seconds": audio_seconds,
        "audio_seconds_per_second": rates,
        "target": TARGETS.get(model.device.type),
        "ratio_to_fast_off": {
            name: rate / rates[off] for name, rate in rates.items() if (off := f"{name}, fast off") in rates
        },
        "stages_ms_per_10_seconds": {
            f"{precision}{', fast off' if fast == 'off' else ''}": stages(model, fast, precision, files[0], folder)
            for precision in PRECISIONS
            for fast in SWITCH[options.fast]
        },
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def report(figures: dict[str, Any]) -> str:
    """The figures as small tables."""
    lines = [
        f"{figures['encoder']} ({figures['embedding_dim']}-d), batch {figures['batch_size']}, fast {figures['fast']}, "
        f"{figures['files']} files, {figures['audio_seconds']:.0f} s of audio",
        f"  {machine.described(figures['machine'])}",
        *(f"  {remark}" for remark in figures["remarks"]),
        f"  {'':<28} {'s/s':>9}  {'x fast off':>10}  target",
    ]
    for name, rate in figures["audio_seconds_per_second"].items():
        ratio = figures["ratio_to_fast_off"].get(name)
        target = figures["target"] if name.startswith("files") and not name.endswith("fast off") else None
        aim = "-" if target is None else f">= {target:g}{'' if rate >= target else '  missed'}"
        lines.append(f"  {name:<28} {rate:9.1f}  {f'{ratio:.2f}' if ratio else '-':>10}  {aim}")
    lines.append(f"  {'peak memory, MB':<28} {figures['peak_memory_mb']:9.0f}")
    kinds = figures["stages_ms_per_10_seconds"]
    lines += ["", f"  {'ms for 10 s of audio':<28} " + " ".join(f"{kind:>18}" for kind in kinds)]
    for stage in dict.fromkeys(stage for found in kinds.values() for stage in found):
        cells = [f"{found[stage]:18.3f}" if stage in found else f"{'-':>18}" for found in kinds.values()]
        lines.append(f"  {stage:<28} {' '.join(cells)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
