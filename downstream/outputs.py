"""A results folder as a whole: that it can be written to, the table of all its scores, and its report."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from byol_a.errors import ByolaError, UsageError
from byol_a.files import atomic_file
from downstream.metrics import UNBOUNDED_METRICS
from downstream.published import published_scores
from downstream.results import Cell, finite, read_cells

SCORES = "scores.jsonl"
TITLE = "Audio representations compared"


def prepare(out: Path) -> None:
    """Make `out`, and see that it can be written to before hours are spent on what goes there.

    Raises:
        UsageError: if it cannot.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out) as probe:
            probe.write(b"room for results")
    except OSError as error:
        raise UsageError(f"{out} cannot be written to ({error.strerror or error}); give another --out") from error


def write_outputs(out: Path, say: Callable[[str], None]) -> None:
    """Write the scores and the report of all cells below `out`, if there are any; `say` is told of the files."""
    from downstream.report import write_report

    damaged: list[str] = []
    cells = list(read_cells(out, damaged.append))
    for sentence in damaged:
        say(sentence)
    if not cells:
        return
    report = write_report(out, cells, published_scores(), title=TITLE, damaged=damaged)
    for path in [write_scores(out, cells), *report]:
        say(f"wrote {path}")


def score_rows(about: dict[str, Any]) -> list[dict[str, Any]]:
    """A cell as flat rows, one for each metric of each result.

    `score` is within 0 and 1; a metric that is not (d') has `value` in its place. `ci_low`, `ci_high`,
    `fold_scores` and `std` are on the same scale.
    """
    entrant, task, run = about["entrant"], about["task"], about["run"]
    common = {
        "model": entrant["model"],
        "model_fingerprint": entrant["fingerprint"],
        "dim": entrant["dim"],
        "pooling": entrant["pooling"],
        "layer": entrant["layer"],
        "control": entrant["control"],
        "weight_seed": entrant["weight_seed"],
        "task": task["name"],
        "label": task["label"],
        "data_fingerprint": task["data_fingerprint"],
        "protocol": about["protocol"]["name"],
        "settings": about["protocol"]["settings"],
        "split": task["split"],
        "counts": {
            "clips": task["clips"],
            "unusable": task["unusable"],
            "expected": task["expected_clips"],
            "classes": len(task["classes"]),
            "tested": task["tested"],
            "folds": task["folds"],
        },
        "package_version": run["package_version"],
        "time": run["started"],
    }
    rows = []
    for result in about["results"]:
        for name, score in result["metrics"].items():
            key = "value" if name in UNBOUNDED_METRICS else "score"
            rows.append(
                common
                | {"probe": result["probe"], "setting": result["setting"], "metric": name, key: score["value"]}
                | {"ci_low": score["low"], "ci_high": score["high"]}
                | {"fold_scores": score["fold_scores"], "std": score["std"]}
                | {"seeds": result["seeds"], "chosen": result["chosen"]}
            )
    return rows


def write_scores(out: Path, cells: Iterable[Cell]) -> Path:
    """Write `out/scores.jsonl`, the rows of every cell; returns it."""
    path = out / SCORES
    try:
        with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
            for cell in cells:
                stream.writelines(_lines(score_rows(cell.about)))
    except OSError as error:
        raise ByolaError(f"cannot write the scores to {path}: {error.strerror or error}") from error
    return path


def _lines(rows: Iterable[dict[str, Any]]) -> Iterable[str]:
    return (json.dumps(finite(row), allow_nan=False) + "\n" for row in rows)
