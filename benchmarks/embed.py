"""How many seconds of audio are embedded per second, on this machine in one run.

    python benchmarks/embed.py [--json FILE] [--data DIR ...] [--model MODEL]

`encoder` encodes waveforms that are in memory; `files` is `byol-a embed`: reading, encoding and writing the store.
Each figure is the median over rounds, in float32 and in bf16.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from byol_a import BYOLA, FrontendConfig, NormStats, find_audio
from byol_a.data.io import read_audio
from byol_a.device import PRECISIONS
from byol_a.embed import embed


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="model folder; by default AudioNTT2022 (3072-d) with random weights")
    parser.add_argument("--data", nargs="+", help="audio to read; by default 16 kHz wav files made for the purpose")
    parser.add_argument("--files", type=int, default=120, help="how many files to make")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long they are")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not options.data:
            write_files(Path(folder) / "audio", options.files, options.seconds)
        figures = measure(options, find_audio(options.data or [Path(folder) / "audio"]), Path(folder))
    print(report(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def write_files(folder: Path, count: int, seconds: float) -> None:
    """White noise as 16-bit, 16 kHz wav files, lengths between half and one and a half times `seconds`."""
    import soundfile

    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        length = round(16_000 * seconds * rng.uniform(0.5, 1.5))
        soundfile.write(folder / f"{number:04d}.wav", 0.1 * rng.standard_normal(length), 16_000, subtype="PCM_16")


def measure(options: argparse.Namespace, files: list[Path], folder: Path) -> dict[str, Any]:
    """All figures as a JSON-able dictionary."""
    if options.model:
        model = BYOLA.from_pretrained(options.model)
    else:
        torch.manual_seed(0)
        model = BYOLA("AudioNTT2022", {}, FrontendConfig(), NormStats(-7.0, 4.5))
    model = model.to(options.device)
    waves = [read_audio(path, model.sample_rate) for path in files]
    audio_seconds = sum(map(len, waves)) / model.sample_rate

    def encode(precision: Any) -> None:
        model.encode(waves, batch_size=options.batch_size, precision=precision)

    def store(precision: Any) -> None:
        embed(
            model,
            files,
            folder / "store",
            batch_size=options.batch_size,
            precision=precision,
            overwrite=True,
            progress=False,
        )

    parts: dict[str, tuple[Callable[[Any], None], str]] = {
        f"{name}, {precision}": (work, precision)
        for name, work in (("encoder", encode), ("files", store))
        for precision in PRECISIONS
    }
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for round_number in range(options.rounds + 1):
        for name, (work, precision) in parts.items():
            began = time.perf_counter()
            work(precision)
            if round_number:  # the first round warms up
                seconds[name].append(time.perf_counter() - began)
    return {
        "encoder": model.encoder_name,
        "embedding_dim": model.embedding_dim,
        "batch_size": options.batch_size,
        "device": options.device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "files": len(files),
        "audio_seconds": audio_seconds,
        "audio_seconds_per_second": {name: audio_seconds / statistics.median(value) for name, value in seconds.items()},
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def report(figures: dict[str, Any]) -> str:
    """The figures as a small table."""
    lines = [
        f"{figures['encoder']} ({figures['embedding_dim']}-d), batch {figures['batch_size']}, {figures['device']}, "
        f"{figures['threads']} threads, torch {figures['torch']}, {figures['files']} files, "
        f"{figures['audio_seconds']:.0f} s of audio"
    ]
    lines += [f"  {name:<20} {rate:8.1f} s/s" for name, rate in figures["audio_seconds_per_second"].items()]
    lines.append(f"  peak memory          {figures['peak_memory_mb']:8.0f} MB")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
