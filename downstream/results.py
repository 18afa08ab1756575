"""What an evaluation keeps: one folder (a cell) per model, task and protocol, complete or not there at all.

OUT/cells/<task>/<protocol>/<model>-<fingerprint>/
    cell.json         who, what, how, and every score
    predictions.npz   for each test clip its truth and every probe's scores
    map.npz           a point in the plane for some clips' embeddings
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np

from byol_a.errors import ByolaError

CELLS, CELL, PREDICTIONS, MAP = "cells", "cell.json", "predictions.npz", "map.npz"
FORMAT, FORMAT_VERSION = "byol-a-cell", 1


class NewerCell(ByolaError):
    """A cell that a newer byol-a wrote: not ours to replace."""


@dataclass(frozen=True)
class Predictions:
    """What the probes said of each test clip.

    Attributes:
        paths: (M,) the clips' files, absolute, in the order of the rounds; a clip tested twice stands twice.
        sections: (M, 2) from and to which second of the file; NaN for all of it.
        rounds: (M,) which of the task's rounds tested it.
        targets: (M, C) bool.
        scores: for each of the cell's results, (seeds, M, C) float32 logits: softmax (sigmoid where a clip may
            have several labels) gives probabilities. NaN for clips that this result did not test.
    """

    paths: np.ndarray
    sections: np.ndarray
    rounds: np.ndarray
    targets: np.ndarray
    scores: list[np.ndarray]


@dataclass(frozen=True)
class EmbeddingMap:
    """Points (P, 2) of P clips; `paths` (P,) name them and `labels` (P,) are what they are coloured by."""

    points: np.ndarray
    paths: np.ndarray
    labels: np.ndarray
    method: str


@dataclass(frozen=True)
class Cell:
    """One finished evaluation, read back.

    `about` is cell.json:
        entrant: {title, model, fingerprint, dim, control (null, "random", "logmel"), weight_seed, pooling, layer}
        task: {name, title, domain, label, classes, multi_label, split, split_made_here, metrics, unit_seconds,
            clips, parts, expected_clips, unusable, tested, warnings, source}
        protocol: {name, settings, changed: those that are not the task's own}
        results: [{probe, setting, title, seeds, chosen, metrics: {name: {value, low, high, std, fold_scores}}}]
        run: {command, started, seconds, embedding_seconds, package_version, python, torch, device, cores}
    """

    folder: Path
    about: dict[str, Any]

    @cached_property
    def predictions(self) -> Predictions:
        """Read from disk at first use.

        Raises:
            ByolaError: if they are damaged.
        """
        with _opened(self.folder / PREDICTIONS) as kept:
            scores = [kept[f"scores_{index}"] for index in range(len(self.about["results"]))]
            return Predictions(kept["paths"], kept["sections"], kept["rounds"], kept["targets"], scores)

    @cached_property
    def map(self) -> EmbeddingMap | None:
        """Read from disk at first use; None where none was drawn.

        Protocols do not change whole clips' embeddings: the map of any cell of this task and model will do.

        Raises:
            ByolaError: if it is damaged.
        """
        drawn = sorted(self.folder.parent.parent.glob(f"*/{escape(self.folder.name)}/{MAP}"))
        if not drawn:
            return None
        with _opened(drawn[0]) as kept:
            return EmbeddingMap(kept["points"], kept["paths"], kept["labels"], str(kept["method"]))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An npz file, whatever is wrong with it as a `ByolaError`."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            yield kept
    except Exception as error:  # a zip can be damaged in many ways
        raise ByolaError(f"{path} is damaged ({type(error).__name__}); delete its folder and evaluate again") from error


def read_cell(folder: Path) -> Cell:
    """The cell in a folder.

    Raises:
        ByolaError: if it is damaged or of a newer format.
    """
    try:
        about = json.loads((folder / CELL).read_text(encoding="utf-8"))
        if about["format"] != FORMAT or not isinstance(about["format_version"], int):
            raise ValueError("it is something else")
        version, parts = (
            about["format_version"],
            [about[key] for key in ("entrant", "task", "protocol", "results", "run")],
        )
        if version <= FORMAT_VERSION and not all(isinstance(part, dict | list) for part in parts):
            raise ValueError("a part of it is missing")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ByolaError(f"{folder} holds no finished evaluation ({error}); delete it and evaluate again") from error
    if version > FORMAT_VERSION:
        raise NewerCell(
            f"{folder} was written by a newer byol-a (format {version}); install that, or give another --out"
        )
    return Cell(folder, about)


def read_cells(out: Path, damaged: Callable[[str], None] | None = None) -> Iterator[Cell]:
    """Every cell below `out`, by task, protocol and model.

    Args:
        damaged: told of each cell that cannot be read, which is left out then.

    Raises:
        ByolaError: for the first of those, if there is nobody to be told.
    """
    for path in sorted((out / CELLS).glob(f"*/*/*/{CELL}")):
        if path.parent.name.startswith("."):
            continue  # being written, or left behind by a killed process
        try:
            yield read_cell(path.parent)
        except ByolaError as error:
            if damaged is None:
                raise
            damaged(str(error))


def finite(value: Any) -> Any:
    """The same JSON value with None for every number that is not finite (a score that no test clip could tell)."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
