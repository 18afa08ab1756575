"""Which differences between two rows of a table are more than chance, on the same test clips.

Compared are the main results of each task and protocol: not its other probes, nor the points of a curve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from byol_a.data.worker_pool import available_cores
from byol_a.errors import UsageError
from byol_a.progress import Progress
from downstream.metrics import Paired, holm
from downstream.metrics.paired import compare_cells
from downstream.protocols.base import fitting
from downstream.report.study import Entry, Study, TaskPage, curve_of
from downstream.results import Cell

MOST_PAIRS = 15  # all pairs of up to six entries; with more, each is compared with the best one

Contestant = tuple[Entry, list[Cell]]
"""An entry and its cells of a task and protocol: several for the draws of one random network, which count as one."""
Pair = tuple[Contestant, Contestant]


@dataclass(frozen=True)
class Comparison:
    """Two entries on one task; `p_adjusted` is after Holm, over the comparisons of the task, protocol and probe."""

    first: Entry
    second: Entry
    paired: Paired
    p_adjusted: float


def compare_all(study: Study, progress: bool | None = None) -> dict[tuple[str, str, str], list[Comparison]]:
    """The comparisons of every task and protocol's main result, by task slug, protocol and probe.

    A pair of evaluations that do not compare (other classes or labels) is left out, which is said.
    """
    jobs = []
    for task in study.tasks:
        for protocol in task.protocols:
            taking_part, probe = _main(study, task, protocol)
            pairs = _pairs(task, taking_part)
            if pairs:
                jobs.append(((task.slug, protocol, probe), pairs))
    flat = [pair for _, pairs in jobs for pair in pairs]
    with fitting("comparing models", len(flat), progress, "pair") as bar:
        results = iter(_in_threads(flat, bar))
    found = {}
    for key, pairs in jobs:
        paired = [(pair, result) for pair in pairs if (result := next(results)) is not None]
        adjusted = holm([result.p_value for _, result in paired])
        found[key] = [
            Comparison(first[0], second[0], result, p)
            for ((first, second), result), p in zip(paired, adjusted, strict=True)
        ]
    return found


def _in_threads(pairs: Sequence[Pair], bar: Progress) -> list[Paired | None]:
    """Compare pairs on all cores; None where two evaluations do not compare."""
    from joblib import Parallel, delayed

    def compare(first: Contestant, second: Contestant) -> Paired | None:
        try:
            return compare_cells(first[1], second[1])
        except UsageError as error:
            bar.write(f"not compared: {error}")
            return None

    parallel = Parallel(n_jobs=available_cores(), prefer="threads", return_as="generator")
    results = []
    for result in parallel(delayed(compare)(*pair) for pair in pairs):
        results.append(result)
        bar.advance()
    return results


def _main(study: Study, task: TaskPage, protocol: str) -> tuple[list[Contestant], str]:
    """Who was evaluated under a protocol, and its main result's title; nobody where that is a point of a curve."""
    taking_part = [(entry, cells) for entry in study.entries if (cells := task.of(protocol, entry))]
    main = taking_part[0][1][0].about["results"][0]
    if curve_of(main) is not None:
        return [], ""
    alike = [
        (entry, [cell for cell in cells if cell.about["results"][0]["title"] == main["title"]])
        for entry, cells in taking_part
    ]
    return [(entry, cells) for entry, cells in alike if cells], main["title"]


def _pairs(task: TaskPage, taking_part: Sequence[Contestant]) -> list[Pair]:
    """The pairs to compare, the better one first; controls are not compared with one another."""

    def value(one: Contestant) -> float:
        values = [cell.about["results"][0]["metrics"][task.metric]["value"] for cell in one[1]]
        known = [value for value in values if value is not None and not math.isnan(value)]
        return sum(known) / len(known) if known else -math.inf

    ranked = sorted(taking_part, key=value, reverse=True)
    pairs = [pair for pair in combinations(ranked, 2) if any(entry.kind == "model" for entry, _ in pair)]
    return pairs if len(pairs) <= MOST_PAIRS else [pair for pair in pairs if pair[0] is ranked[0]]
