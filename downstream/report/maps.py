"""Embedding maps of a task, packed for the page: two bytes a coordinate, each file's name once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from byol_a.errors import ByolaError
from downstream.report.excerpts import ClipName
from downstream.report.markup import encoded
from downstream.report.study import Study, TaskPage
from downstream.report.wording import common_folder
from downstream.results import Cell, EmbeddingMap

FULL = 65535


def maps_of(task: TaskPage, study: Study, most: int, audio: Mapping[ClipName, int]) -> dict[str, Any] | None:
    """A task's maps as JSON, one for each entry that has one; None where nobody has.

    Args:
        most: files drawn; of more, the same random ones on every map.
        audio: numbers of the clips that can be listened to.

    Returns:
        `root`, the folder that all files are in; `files`, their names below it; `classes`; `audio`, pairs of a
        file and its number; and `maps` with `entry`, `method`, `n`, and in base64, little-endian: `places`
        (n, 2) uint16 from the lower left, `files` (n,) uint32 and `labels` (n,) uint16.
    """
    found: list[tuple[str, EmbeddingMap]] = []
    for entry in study.entries:
        mine = [cell for cell in task.cells if study.entry_of(cell) is entry]
        drawn = next((drawn for cell in mine if (drawn := _map_of(cell)) is not None), None)
        if drawn is not None:
            found.append((entry.label, drawn))
    if not found:
        return None
    paths = sorted({str(path) for _, drawn in found for path in drawn.paths})
    if len(paths) > most:
        kept = np.random.default_rng(0).permutation(len(paths))[:most]
        paths = [paths[index] for index in np.sort(kept)]
    numbers = {path: number for number, path in enumerate(paths)}
    classes = _classes(task, [drawn for _, drawn in found])
    root = common_folder(paths)
    return {
        "root": root,
        "files": [path[len(root) :] for path in paths],
        "classes": classes,
        "audio": [[numbers[clip.path], place] for clip, place in audio.items() if clip.path in numbers],
        "maps": [_packed(label, drawn, numbers, classes) for label, drawn in found],
    }


def _map_of(cell: Cell) -> EmbeddingMap | None:
    """A cell's map; None where it has none, or a damaged one (which `write_report` names)."""
    try:
        return cell.map
    except ByolaError:
        return None


def _classes(task: TaskPage, maps: list[EmbeddingMap]) -> list[str]:
    """The labels that occur: the task's classes in their order, then others."""
    occurring = {str(label) for drawn in maps for label in np.unique(drawn.labels)}
    known = [name for name in task.about["classes"] if name in occurring]
    return known + sorted(occurring - set(known))


def _packed(label: str, drawn: EmbeddingMap, numbers: dict[str, int], classes: list[str]) -> dict[str, Any]:
    places = {name: number for number, name in enumerate(classes)}
    files = np.asarray([numbers.get(str(path), -1) for path in drawn.paths])
    shown = files >= 0
    points = np.nan_to_num(np.asarray(drawn.points, dtype=np.float64)[shown])
    low, high = points.min(axis=0, initial=np.inf), points.max(axis=0, initial=-np.inf)
    # One scale for both axes, centred: distances keep their proportions.
    extent = max(float((high - low).max(initial=0)), 1e-9)
    scaled = ((points - (low + high) / 2) / extent + 0.5) * FULL if len(points) else points
    labels = np.asarray([places[str(name)] for name in drawn.labels[shown]], dtype="<u2")
    return {
        "entry": label,
        "method": drawn.method,
        "n": len(points),
        "places": encoded(np.rint(scaled).astype("<u2").tobytes()),
        "files": encoded(files[shown].astype("<u4").tobytes()),
        "labels": encoded(labels.tobytes()),
    }
