"""What the page's script draws of a task, within a size: details of its results, clips, and maps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from byol_a.words import printable
from downstream.metrics import LOWER_IS_BETTER
from downstream.report.board import standing_of
from downstream.report.details import HardClip, details_of
from downstream.report.excerpts import ClipName, Excerpts
from downstream.report.maps import common_folder, maps_of
from downstream.report.markup import packed
from downstream.report.study import Study, TaskPage, curve_of, protocol_of
from downstream.results import Cell

MOST_RESULTS = 40  # with details, of one task
FEWEST_POINTS = 500  # a map is not thinned below this


@dataclass
class TaskData:
    """A task's details: for each result its title and JSON, and the clips that it finds hardest, hardest first."""

    task: TaskPage
    results: list[dict[str, Any]] = field(default_factory=list)
    hardest: list[list[tuple[ClipName, HardClip]]] = field(default_factory=list)

    def clips_by_worth(self) -> list[ClipName]:
        """The clips to listen to: every result's hardest one, then every result's second, and so on."""
        deepest = max((len(clips) for clips in self.hardest), default=0)
        return [clips[rank][0] for rank in range(deepest) for clips in self.hardest if rank < len(clips)]


def gather(task: TaskPage, study: Study) -> TaskData:
    """The details of a task's results, the best main result of its first protocol first.

    Of a curve only a task without other results has any.
    """
    data = TaskData(task)
    for cell, index in _worth_details(task, study)[:MOST_RESULTS]:
        found, hardest = details_of(cell, index)
        result = cell.about["results"][index]
        title = f"{study.entry_of(cell).label} · {protocol_of(cell)} · {result['title']}"
        data.results.append({"title": printable(title), **found})
        data.hardest.append([(_clip_name(cell, clip.row), clip) for clip in hardest])
    return data


def pack(data: TaskData, study: Study, excerpts: Excerpts, most_points: int, budget: int) -> tuple[str, bool]:
    """A task's data for the page, and whether there is a map; maps are thinned until all fits into `budget`."""
    places = excerpts.places
    names = list(dict.fromkeys(name for clips in data.hardest for name, _ in clips))
    root = common_folder([name.path for name in names])
    numbers = {name: number for number, name in enumerate(names)}
    whole: dict[str, Any] = {
        "classes": [printable(str(name)) for name in data.task.about["classes"]],
        "root": printable(root),
        "clips": [
            {
                "name": printable(name.path[len(root) :]),
                "section": None if name.section is None else [round(edge, 2) for edge in name.section],
                "audio": places.get(name, -1),
            }
            for name in names
        ],
        "audioNote": _audio_note(names, excerpts),
        "results": [
            result | {"hardest": [_hard_clip(numbers[name], clip) for name, clip in clips]}
            for result, clips in zip(data.results, data.hardest, strict=True)
        ],
    }
    while True:
        drawn = maps_of(data.task, study, most_points, places)
        if drawn is not None:
            drawn = drawn | {key: [printable(text) for text in drawn[key]] for key in ("files", "classes")}
            drawn["root"] = printable(drawn["root"])
        text = packed(whole | {"map": drawn})
        points = 0 if drawn is None else len(drawn["files"])
        if len(text) <= budget or points <= FEWEST_POINTS:
            return text, drawn is not None
        most_points = max(FEWEST_POINTS, int(points * min(0.9, budget / len(text))))


def _worth_details(task: TaskPage, study: Study) -> list[tuple[Cell, int]]:
    """Cells and results by worth; the first draw of random weights stands for the others."""
    ranked: list[tuple[tuple[bool, int, int, float], int, Cell, int]] = []
    protocols, sign = task.protocols, -1 if task.metric in LOWER_IS_BETTER else 1
    firsts: dict[tuple[Any, str], Cell] = {}
    for cell in task.cells:
        entry, protocol = study.entry_of(cell), protocol_of(cell)
        if firsts.setdefault((entry.key, protocol), cell) is not cell:
            continue
        for index, result in enumerate(cell.about["results"]):
            standing = standing_of(task, task.of(protocol, entry), result["title"])
            value = -math.inf if standing is None or standing.value is None else sign * standing.value
            rank = (curve_of(result) is not None, index, protocols.index(protocol), -value)
            ranked.append((rank, len(ranked), cell, index))
    ranked.sort(key=lambda item: item[:2])
    plain = [item for item in ranked if not item[0][0]]
    return [(cell, index) for _, _, cell, index in plain or ranked]


def _clip_name(cell: Cell, row: int) -> ClipName:
    predictions = cell.predictions
    begin, end = predictions.sections[row].tolist()
    return ClipName(str(predictions.paths[row]), None if np.isnan(begin) else (begin, end))


def _hard_clip(number: int, clip: HardClip) -> dict[str, Any]:
    return {"clip": number, "truth": clip.truth, "top": clip.top, "loss": clip.loss}


def _audio_note(names: list[ClipName], excerpts: Excerpts) -> str:
    if any(name not in excerpts.places and name not in excerpts.unreachable for name in names):
        return "Not all audio fits into this report."
    if any(name in excerpts.unreachable for name in names):
        return "Some files could not be read when this report was written."
    return ""
