"""Scores as tables and pictures: one to print, one per class to compute with, and confusion matrices."""

from __future__ import annotations

import csv
import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from byol_a.files import atomic_file
from byol_a.words import printable
from downstream.metrics import (
    METRIC_TITLES,
    UNBOUNDED_METRICS,
    Score,
    average_precisions,
    confusion,
    precision_recall_f1,
)
from downstream.protocols import ProbeResult
from downstream.tasks import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from downstream.evaluate import Outcome

MOST_ANNOTATED_CLASSES, MOST_NAMED_CLASSES = 20, 200
DPI, MOST_PIXELS = 150, 4000  # a side of a picture
LONGEST_STEM = 100  # bytes; a file name may have 255


@dataclass(frozen=True)
class TableRow:
    """One line of the printed table: one probe on one embedding, or the mean over several random networks."""

    embedding: str
    dim: int
    probe: str
    metric: str
    scores: tuple[Score, ...]
    chosen: str

    def cells(self) -> list[str]:
        """As text, in the order of `TABLE_HEADER`."""
        scale, unit, digits = (1.0, "", 2) if self.metric in UNBOUNDED_METRICS else (100.0, " %", 1)
        values, first = [scale * score.value for score in self.scores], self.scores[0]
        spread, interval = first.std, f"{scale * first.low:.{digits}f} to {scale * first.high:.{digits}f}"
        if len(values) > 1:
            spread, interval = float(np.std(values, ddof=1)) / scale, ""
        value = f"{np.mean(values):.{digits}f}{unit}"
        if spread is not None:
            value += f" ± {scale * spread:.{digits}f}"
        metric = METRIC_TITLES.get(self.metric, self.metric)
        return [printable(self.embedding), str(self.dim), self.probe, metric, value, interval, self.chosen]


TABLE_HEADER = ["embedding", "dim", "probe", "metric", "score", "95 % interval", "chosen"]
RIGHT_ALIGNED = {"dim", "score", "95 % interval"}


def print_table(rows: Sequence[TableRow]) -> None:
    """Print to standard output: ruled in a terminal, aligned columns in a pipe or a log."""
    cells = [row.cells() for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(header_style="bold")
        for title in TABLE_HEADER:
            table.add_column(title, justify="right" if title in RIGHT_ALIGNED else "left", overflow="fold")
        for previous, row in zip([None, *rows[:-1]], rows, strict=True):
            if previous is not None and previous.embedding != row.embedding:
                table.add_section()
            table.add_row(*row.cells())
        Console(markup=False, highlight=False).print(table)
        return
    widths = [max(len(line[column]) for line in [TABLE_HEADER, *cells]) for column in range(len(TABLE_HEADER))]
    for line in [TABLE_HEADER, ["-" * width for width in widths], *cells]:
        columns = [
            cell.rjust(width) if title in RIGHT_ALIGNED else cell.ljust(width)
            for cell, width, title in zip(line, widths, TABLE_HEADER, strict=True)
        ]
        print("  ".join(columns).rstrip())


def table_rows(outcomes: Sequence[Outcome]) -> list[TableRow]:
    """The lines of the printed table, the tasks' own metrics only; several random networks share a line."""
    groups: dict[tuple[str, ...], list[Outcome]] = {}
    for outcome in outcomes:
        entrant = outcome.entrant
        # Draws of one random network are one line; anything else is a line of its own, whatever it is called.
        which = entrant.features.name if entrant.control == "random" else entrant.features.fingerprint()
        groups.setdefault((outcome.about["protocol"]["name"], entrant.title, which), []).append(outcome)
    rows = []
    for (_, title, _), same in groups.items():
        name = title if len(same) == 1 else f"{title}, {len(same)} draws"
        for index, result in enumerate(same[0].results):
            every = [outcome.results[index] for outcome in same]
            chosen = describe_chosen(result) if len(same) == 1 else ""
            rows += [
                TableRow(
                    name, same[0].dim, result.title, metric, tuple(other.metrics[metric] for other in every), chosen
                )
                for metric in same[0].task.metrics
            ]
    return rows


def describe_chosen(result: ProbeResult) -> str:
    """What was chosen, each as one value or a range over folds and seeds: "C 0.1 to 1"."""
    every: dict[str, set[float]] = {}
    for choice in (choice for folds in result.chosen for choice in folds):
        for key, value in choice.items():
            every.setdefault(key, set()).add(value)
    return ", ".join(
        f"{key} {min(values):g}" if len(values) == 1 else f"{key} {min(values):g} to {max(values):g}"
        for key, values in every.items()
    )


def write_class_table(path: Path, task: Task, result: ProbeResult) -> None:
    """One CSV line a class: test clips, then precision, recall and F1 (multi-label: average precision).

    Where there are several seeds, counts are their mean.
    """
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        targets = np.concatenate(result.targets)
        if task.multi_label:
            every = [
                average_precisions(scores, of_round, np.ones((1, len(of_round))))[0]
                for folds in result.scores
                for scores, of_round in zip(folds, result.targets, strict=True)
            ]
            known = np.ma.masked_invalid(np.stack(every)).mean(axis=0).filled(np.nan)
            writer.writerow(["class", "test_clips", "average_precision"])
            for name, count, value in zip(task.classes, targets.sum(axis=0), known, strict=True):
                writer.writerow([name, count, "" if np.isnan(value) else f"{value:.4f}"])
            return
        precision, recall, f1 = precision_recall_f1(mean_confusion(result))
        writer.writerow(["class", "test_clips", "precision", "recall", "f1"])
        for column, name in enumerate(task.classes):
            count = int(targets[:, column].sum())
            # A class without test clips has no recall.
            shown = [f"{values[column]:.4f}" for values in (precision, recall, f1)] if count else ["", "", ""]
            writer.writerow([name, count, *shown])


def mean_confusion(result: ProbeResult) -> np.ndarray:
    """Counts (C, C) over all test clips, true classes by predicted ones, mean over seeds."""
    targets = np.concatenate(result.targets)
    return np.mean([confusion(np.concatenate(folds), targets) for folds in result.scores], axis=0)


def confusion_figure(counts: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """Confusion matrix, each row in per cent of its true class; classes without test clips have no row.

    At most about 4,000 pixels a side; more than 200 classes are not named.

    Args:
        counts: (C, C), true classes by predicted ones.
    """
    from matplotlib.figure import Figure

    present = counts.sum(axis=1) > 0
    shown = 100 * counts[present] / counts[present].sum(axis=1, keepdims=True)
    rows = [name for name, here in zip(classes, present, strict=True) if here]
    n_rows, n_columns = shown.shape
    annotated = n_columns <= MOST_ANNOTATED_CLASSES
    named = n_columns <= MOST_NAMED_CLASSES
    # Inches; more classes than can be named share the room of as many as can.
    cell = 0.5 if annotated else max(0.12, 10 / n_columns) if named else 0.12 * MOST_NAMED_CLASSES / n_columns
    longest = max(map(len, classes)) if named else 0
    margin = 0.8 + 0.085 * longest
    width = max(6.0, margin + cell * n_columns + 1.2)
    height = max(4.0, margin + cell * n_rows + 0.8)
    figure = Figure(figsize=(width, height), layout="constrained", dpi=min(DPI, MOST_PIXELS / max(width, height)))
    axes = figure.add_subplot()
    image = axes.imshow(shown, cmap="Blues", vmin=0, vmax=100, aspect="equal")
    small = 9.0 if annotated else max(3.0, min(8.0, 60 * cell))
    if named:
        turned = 0 if annotated and longest <= 3 else 90
        axes.set_xticks(range(n_columns), classes, rotation=turned, fontsize=small, parse_math=False)
        axes.set_yticks(range(n_rows), rows, fontsize=small, parse_math=False)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=10.5, parse_math=False)  # a name may hold dollar signs
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if annotated:
        axes.set_xticks(np.arange(1, n_columns) - 0.5, minor=True)
        axes.set_yticks(np.arange(1, n_rows) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5)
        axes.tick_params(which="minor", length=0)
        for (row, column), value in np.ndenumerate(shown):
            if value >= 0.5:
                axes.text(
                    column, row, f"{value:.0f}", ha="center", va="center", fontsize=8.5,
                    color="white" if value > 55 else "black",
                )  # fmt: skip
    figure.colorbar(image, ax=axes, shrink=0.8, label="% of the true class", pad=0.02)
    return figure


def write_confusion(path: Path, counts: np.ndarray, classes: Sequence[str], title: str) -> None:
    """Draw `confusion_figure` into a PNG file, atomically."""
    figure = confusion_figure(counts, classes, title)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight")


def file_stem(*parts: str) -> str:
    """A file name from names that may hold anything: what is not plain becomes a hyphen.

    One of more than 100 bytes is cut off and ends in a digest of the whole.
    """
    stem = "-".join(re.sub(r"[^\w.]+", "-", part).strip("-.") or "model" for part in parts)
    if len(stem.encode()) <= LONGEST_STEM:
        return stem
    digest = hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{stem.encode()[:LONGEST_STEM].decode(errors='ignore')}-{digest}"
