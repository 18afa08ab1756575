"""Finished evaluations made up for tests: plausible scores with a structure, in the format of `downstream.results`."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from downstream.results import CELL, CELLS, FORMAT, FORMAT_VERSION, MAP, PREDICTIONS, Cell, read_cell

MODEL = {"title": "byola-2022", "model": "models/byola-2022", "control": None, "weight_seed": None, "dim": 3072}
OTHER = {"title": "byola-2020", "model": "models/byola-2020", "control": None, "weight_seed": None, "dim": 512}
RANDOM = {"title": "random weights", "model": "random:AudioNTT2022", "control": "random", "weight_seed": 0, "dim": 3072}
LOGMEL = {"title": "log-mel statistics", "model": "logmel", "control": "logmel", "weight_seed": None, "dim": 192}


def fake_task(name: str = "esc10", n_classes: int = 10, **values: Any) -> dict[str, Any]:
    """What a cell says of a task."""
    return {
        "name": name,
        "title": name.upper(),
        "domain": "environment",
        "label": "category",
        "classes": [f"class {index}" for index in range(n_classes)],
        "multi_label": False,
        "metrics": ["accuracy"],
        "unit_seconds": 5.0,
        "split": "5 official folds",
        "split_made_here": False,
        "warnings": [],
        "clips": 400,
        "unusable": 0,
        "expected_clips": 400,
        "folds": 5,
        "tested": 400,
        "source": "https://github.com/karolpiczak/ESC-50",
    } | values


def write_fake_cell(
    out: Path,
    task: dict[str, Any],
    entrant: dict[str, Any],
    skill: float,
    *,
    protocol: str = "default",
    results: Sequence[tuple[str, dict[str, Any], float]] = (("logistic", {}, 0.0), ("knn10", {}, -0.6)),
    paths: Sequence[str] | None = None,
    n_clips: int | None = None,
    n_seeds: int = 1,
    map_points: int = 0,
    changed: dict[str, Any] | None = None,
    seed: int = 0,
) -> Cell:
    """Write a cell in which a model of `skill` (a logit margin; 0 guesses) classifies clips of mixed difficulty.

    Args:
        results: probe, setting, and what it adds to the skill.
        changed: settings that are not the protocol's own.
    """
    rng = np.random.default_rng([seed, 7])
    n_clips, classes = n_clips or task["clips"], task["classes"]
    n_classes = len(classes)
    paths = paths or [f"/data/{task['name']}/audio/fold{1 + i % 5}/clip-{i:05d}.wav" for i in range(n_clips)]
    truth = rng.integers(0, n_classes, n_clips)
    targets = np.eye(n_classes, dtype=bool)[truth]
    if task["multi_label"]:
        targets |= rng.random(targets.shape) < 0.02
    confusable = np.roll(np.arange(n_classes), 1)[truth]
    hardness = rng.gamma(2.0, 0.9, n_clips)  # shared by every model: comparisons are paired
    own = np.random.default_rng(_number(entrant, protocol))
    scores = []
    for _, _, more in results:
        noise = own.standard_normal((n_seeds, n_clips, n_classes)) * 0.9
        margin = (skill + more - hardness + 2)[None, :, None]
        logits = noise + margin * targets[None]
        logits[:, np.arange(n_clips), confusable] += 0.8
        if task["multi_label"]:
            logits -= 3
        scores.append(logits.astype(np.float32))
    described = [
        _describe(probe, setting, of_result, targets, task, n_seeds)
        for (probe, setting, _), of_result in zip(results, scores, strict=True)
    ]
    fingerprint = f"{_number(entrant):08x}" * 4
    about = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "entrant": {"pooling": "model", "layer": None, "fingerprint": fingerprint} | entrant,
        "task": task,
        "protocol": {
            "name": protocol,
            "settings": {"C_grid": [1e-4, 1e-2, 1.0], "seeds": [0, 1, 2]} | (changed or {}),
            "changed": changed or {},
        },
        "results": described,
        "run": {
            "command": f"byol-a evaluate {entrant['model']} /data/{task['name']} --protocol {protocol}",
            "started": "2026-11-20T10:00:00Z",
            "seconds": 12.5,
            "embedding_seconds": 31.0,
            "package_version": "0.1.0",
            "python": "3.12.3",
            "torch": "2.11.0",
            "device": "cpu",
            "cores": 2,
        },
    }
    kind = "-".join([task["name"], *([task["clips_digest"][:8]] if "clips_digest" in task else [])])
    folder = out / CELLS / kind / protocol / f"{fingerprint[:12]}-{entrant['weight_seed']}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CELL).write_text(json.dumps(about), encoding="utf-8")
    rounds = np.arange(n_clips) % task["folds"]
    kept: dict[str, Any] = {f"scores_{number}": of_result for number, of_result in enumerate(scores)}
    np.savez(
        folder / PREDICTIONS,
        paths=np.asarray(paths),
        sections=np.full((n_clips, 2), np.nan),
        rounds=rounds,
        targets=targets,
        **kept,
    )
    if map_points:
        shown = np.arange(min(map_points, n_clips))
        middles = rng.standard_normal((n_classes, 2)) * 14
        points = middles[truth[shown]] + own.standard_normal((len(shown), 2)) * (4.5 - min(skill, 3))
        labels = np.asarray(classes)[truth[shown]]
        method = "standardised, 50 principal components, then t-SNE"
        np.savez(
            folder / MAP, points=points.astype(np.float32), paths=np.asarray(paths)[shown], labels=labels, method=method
        )
    return read_cell(folder)


def _number(entrant: dict[str, Any], *more: str) -> int:
    """The same for the same embedding, in every process."""
    return zlib.crc32(repr((entrant["model"], entrant["weight_seed"], *more)).encode())


def _describe(
    probe: str, setting: dict[str, Any], scores: np.ndarray, targets: np.ndarray, task: dict[str, Any], n_seeds: int
) -> dict[str, Any]:
    from downstream.metrics import METRICS, metrics_beside

    once = np.ones((1, len(targets)))
    metrics = {}
    for name in metrics_beside(task["metrics"], task["multi_label"]):
        values = [float(METRICS[name](s.astype(np.float32), targets, task["classes"], once)[0]) for s in scores]
        value = float(np.mean(values))
        half = 1.96 * np.sqrt(max(value * (1 - value), 0.001) / len(targets)) if value < 1 else 0.02
        std = float(np.std(values, ddof=1)) if n_seeds > 1 else None
        metrics[name] = {
            "value": value,
            "low": value - half,
            "high": value + half,
            "std": std,
            "fold_scores": [value] * task["folds"],
        }
    chosen = [[{"C": 0.01}] * task["folds"]] * n_seeds if probe == "logistic" else []
    title = ", ".join([probe, *(f"{key} {value}" for key, value in setting.items())])
    return {
        "probe": probe,
        "setting": setting,
        "title": title,
        "seeds": list(range(n_seeds)) if n_seeds > 1 else [],
        "chosen": chosen,
        "metrics": metrics,
    }
