"""How long the map and the report of a large set take, and how large the report is, beside the targets.

    python benchmarks/report.py [--clips N] [--dim D] [--classes C] [--models M] [--json FILE]

Embeddings are made up: classes as overlapping clusters in some fifty of the dimensions, which are correlated, and
noise in all. They are projected once; a cell of that map and of predictions on the same clips is written for each
model, one of them a control; then the report is written about them, comparisons included. There is no audio
to go into it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from downstream.published import published_scores
from downstream.report import Projection, project, write_report

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.downstream.report.cells import LOGMEL, MODEL, fake_task, write_fake_cell

MOST_SECONDS, MOST_MEGABYTES = 30.0, 15.0


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=50)
    parser.add_argument("--models", type=int, default=2, help="in the report, a control among them")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    found = measure(arguments.clips, arguments.dim, arguments.classes, arguments.models)
    total = found["projection_seconds"] + found["report_seconds"]
    print(f"projection of {arguments.clips:,} x {arguments.dim}: {found['projection_seconds']:.1f} s")
    print(f"report of {arguments.models} models: {found['report_seconds']:.1f} s, {found['html_megabytes']:.2f} MB")
    print(f"both: {total:.1f} s (target: below {MOST_SECONDS:g} s and {MOST_MEGABYTES:g} MB)")
    print(f"neighbours of the same class: {found['purity']:.3f} of 5 on the map, {found['purity_before']:.3f} before")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


def measure(n_clips: int, dim: int, n_classes: int, n_models: int) -> dict[str, float]:
    """Seconds, sizes in MB, and how much of the classes' structure the map keeps."""
    embeddings, labels = make_embeddings(n_clips, dim, n_classes)
    began = time.perf_counter()
    projection = project(embeddings, labels)
    projection_seconds = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        task = fake_task("large", n_classes, clips=n_clips, tested=n_clips, folds=1)
        entrants = [LOGMEL, *[MODEL | {"title": f"model {i}", "model": f"model-{i}"} for i in range(1, n_models)]]
        cells = [write_fake_cell(out, task, one, 1.0 + i) for i, one in enumerate(entrants)]
        for cell in cells:
            write_map(cell.folder, projection, labels, cell.predictions.paths)
        began = time.perf_counter()
        written = write_report(out, cells, published_scores(), title="Benchmark", progress=False)
        report_seconds = time.perf_counter() - began
        size = written[0].stat().st_size / 1e6
    return {
        "projection_seconds": projection_seconds,
        "report_seconds": report_seconds,
        "html_megabytes": size,
        "purity": purity(projection.points, labels[projection.chosen]),
        "purity_before": purity(embeddings[projection.chosen], labels[projection.chosen]),
    }


def make_embeddings(n_clips: int, dim: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (N, D) float32 and each one's class."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, n_classes, n_clips)
    mixing = rng.standard_normal((50, dim)) * np.geomspace(2, 0.2, 50)[:, None]
    middles = 0.9 * rng.standard_normal((n_classes, 50))
    hidden = middles[labels] + rng.standard_normal((n_clips, 50))
    rows = hidden.astype(np.float32) @ mixing.astype(np.float32)
    rows += 2 * rng.standard_normal(rows.shape, dtype=np.float32)
    return rows, labels


def write_map(folder: Path, projection: Projection, labels: np.ndarray, paths: np.ndarray) -> None:
    """A cell's map.npz, as an evaluation writes it."""
    names = np.asarray([f"class {label}" for label in labels])[projection.chosen]
    np.savez(
        folder / "map.npz",
        points=projection.points,
        paths=paths[projection.chosen],
        labels=names,
        method=projection.method,
    )


def purity(points: np.ndarray, labels: np.ndarray, most: int = 2000) -> float:
    """Share of the 5 nearest neighbours of some points that are of their class."""
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=6).fit(points).kneighbors(points[:most], return_distance=False)[:, 1:]
    return float((labels[nearest] == labels[:most, None]).mean())


if __name__ == "__main__":
    main()
