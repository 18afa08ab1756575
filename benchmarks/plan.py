"""What a large run needs of cores, disks and networks, reckoned from the figures of benchmarks/data.py.

    python benchmarks/data.py --json figures.json
    python benchmarks/plan.py figures.json [--crops-per-day 1e9] [--nodes 8] [--gpus 8] [--clips 2e6] ...

Prints the tables of docs/scale.md, in Markdown.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from byol_a.data.store.pack import SHARD_BYTES

DAY = 86400
SAMPLE_BYTES, SAMPLE_RATE = 2, 16000
LINKS_GBIT = (1, 10, 100)
RATES_OF_A_GPU = (200, 1000, 5000, 20000)


def main() -> None:
    """Reckon and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", type=Path, help="what benchmarks/data.py --json wrote")
    parser.add_argument("--crops-per-day", type=float, default=1e9)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--gpus", type=int, default=8, help="of a node, one rank each")
    parser.add_argument("--cores", type=int, default=64, help="of a node, for scanning and packing")
    parser.add_argument("--cache-gb", type=float, default=400, help="memory of a node that is left to the page cache")
    parser.add_argument("--clips", type=float, default=2e6)
    parser.add_argument("--clip-seconds", type=float, default=10)
    options = parser.parse_args()
    figures = json.loads(options.figures.read_text())
    for title, rows in (
        ("Measured", measured(figures)),
        ("Demand", demand(figures, options)),
        ("A GPU", of_a_gpu(figures)),
        ("Cores", cores(figures, options)),
        ("Storage", storage(figures, options)),
        ("Preparation", preparation(figures, options)),
        ("Memory", memory(figures, options)),
    ):
        print(f"### {title}\n\n{table(rows)}\n")


def table(rows: Iterable[Sequence[str]]) -> str:
    """Rows as a Markdown table, the first being its header."""
    header, *body = rows
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def measured(figures: dict[str, Any]) -> list[Sequence[str]]:
    """The figures that the others come from."""
    scan, pack = (figures[f"{what}_audio_seconds_per_second"] for what in ("scan", "pack"))
    rows: list[Sequence[str]] = [
        ("of one core", "crops/s", "crops/s by CPU time", "crops/s, one worker", "scan, s/s", "pack, s/s")
    ]
    for kind, rate in figures["crops_per_second_in_one_process"].items():
        others = (figures["crops_per_cpu_second"][kind], figures["crops_per_second_in_one_worker"][kind])
        prepared = (f"{speeds[kind]:,.0f}" if kind in speeds else "" for speeds in (scan, pack))
        rows.append((kind, f"{rate:,.0f}", *(f"{other:,.0f}" for other in others), *prepared))
    cold = figures["store_not_in_page_cache"]
    rows.append(("store, not in the page cache", f"{cold['crops_per_second']:,.0f}", "", "", "", ""))
    return rows


def demand(figures: dict[str, Any], options: argparse.Namespace) -> list[Sequence[str]]:
    """What the run asks for."""
    crops = options.crops_per_day / DAY
    size = figures["crop_bytes"]
    gpus = options.nodes * options.gpus
    return [
        (f"{options.crops_per_day:,.0f} crops a day", "crops/s", "MB/s"),
        *(
            (name, f"{crops / parts:,.0f}", f"{crops * size / parts / 1e6:,.1f}")
            for name, parts in (
                ("all", 1),
                (f"each of {options.nodes} nodes", options.nodes),
                (f"each of {gpus} GPUs", gpus),
            )
        ),
    ]


def of_a_gpu(figures: dict[str, Any]) -> list[Sequence[str]]:
    """Bytes and cores for one GPU that trains at a given rate."""
    kinds = ("store", "wav", "flac", "mp3")
    per_core = figures["crops_per_second_in_one_worker"]
    return [
        ("crops/s of one GPU", "MB/s", *(f"cores, {kind}" for kind in kinds)),
        *(
            (
                f"{rate:,}",
                f"{rate * figures['crop_bytes'] / 1e6:,.1f}",
                *(f"{rate / per_core[kind]:.2f}" for kind in kinds),
            )
            for rate in RATES_OF_A_GPU
        ),
    ]


def cores(figures: dict[str, Any], options: argparse.Namespace) -> list[Sequence[str]]:
    """Cores that are busy reading."""
    crops = options.crops_per_day / DAY
    return [
        ("read from", "cores, all nodes", "cores of a node", "cores for a GPU"),
        *(
            (kind, *(f"{crops / rate / parts:.2f}" for parts in (1, options.nodes, options.nodes * options.gpus)))
            for kind, rate in figures["crops_per_second_in_one_worker"].items()
        ),
    ]


def storage(figures: dict[str, Any], options: argparse.Namespace) -> list[Sequence[str]]:
    """The store's size, the way of it to a node, and what a node reads where it does not fit into memory."""
    size = options.clips * options.clip_seconds * SAMPLE_RATE * SAMPLE_BYTES
    crops = options.crops_per_day / DAY / options.nodes
    missed = max(0.0, 1 - options.cache_gb * 1e9 / size)
    read = missed * crops * figures["store_not_in_page_cache"]["bytes_read_per_crop"]
    return [
        (f"{options.clips:,.0f} clips of {options.clip_seconds:g} s", "", ""),
        ("store", f"{size / 1e9:,.0f} GB", f"{size / SHARD_BYTES:,.0f} shards"),
        *(
            (f"staged over {link} Gbit/s", f"{size / (link / 8 * 1e9) / 60:,.1f} min", f"{link / 8:g} GB/s")
            for link in LINKS_GBIT
        ),
        (f"crops outside {options.cache_gb:g} GB of page cache", f"{missed:.0%}", f"{missed * crops:,.0f}/s a node"),
        ("read from a node's disk", f"{read / 1e6:,.1f} MB/s", f"{missed * crops:,.0f} places/s"),
        ("an epoch lasts", f"{options.clips / options.crops_per_day * DAY:,.0f} s", ""),
    ]


def preparation(figures: dict[str, Any], options: argparse.Namespace) -> list[Sequence[str]]:
    """Hours that a node takes to scan and pack."""
    sound = options.clips * options.clip_seconds
    rows: list[Sequence[str]] = [
        (f"{sound / 3600:,.0f} hours of", "scan, core hours", "pack, core hours", "both, node")
    ]
    for kind, speed in figures["scan_audio_seconds_per_second"].items():
        scan, pack = sound / speed / 3600, sound / figures["pack_audio_seconds_per_second"][kind] / 3600
        rows.append((kind, f"{scan:,.1f}", f"{pack:,.1f}", f"{(scan + pack) / options.cores * 60:,.0f} min"))
    return rows


def memory(figures: dict[str, Any], options: argparse.Namespace) -> list[Sequence[str]]:
    """What the list of clips costs; it grows in proportion to the clips."""
    index, share = figures["index"], options.clips / figures["index"]["rows"]
    workers = index["worker_mb"]
    return [
        (f"{options.clips:,.0f} clips", "", ""),
        ("index file", f"{index['file_mb'] * share:,.0f} MB", ""),
        ("opening it", f"{index['open_seconds'] * share:.1f} s", "each run"),
        ("main process", f"{index['main_process_mb'] * share:,.0f} MB", f"{options.gpus} ranks a node"),
        ("a worker's own memory", f"{workers:.0f} MB", "whatever the number of clips"),
        *((f"order by {name}", f"{s * share:.2f} s", "each epoch") for name, s in index["order_seconds"].items()),
        ("weights from tables", f"{index['label_weights_seconds'] * share:.1f} s", "each run"),
    ]


if __name__ == "__main__":
    main()
