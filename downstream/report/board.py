"""Leaderboards: under one protocol and with one probe, who reached what on which task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from downstream.metrics import LOWER_IS_BETTER, UNBOUNDED_METRICS
from downstream.published import PublishedScore
from downstream.report.comparisons import Comparison
from downstream.report.study import (
    Entry,
    Study,
    TaskPage,
    changes_of,
    ordered_protocols,
    protocol_of,
    protocol_title,
)
from downstream.results import Cell

SIGNIFICANT = 0.05
MEAN = "mean"  # what a published mean over a paper's own tasks has in place of a task


@dataclass(frozen=True)
class Standing:
    """What an entry reached on a task, on the metric's own scale.

    Attributes:
        low, high: the 95 % interval over test clips; None for published scores and for several draws.
        std: over seeds, or over draws where there are several.
        draws: of random weights.
        source: of a published score.
        note: what a reader should know of a published score.
        best: the best of our rows on this task, which a paired test compared with each other one of them.
        tied: not the best, and a paired test does not tell it from that.
        highest: of all rows, published ones too, where it is not known to be the best: that was not tested.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    std: float | None = None
    draws: int = 1
    source: str = ""
    note: str = ""
    best: bool = False
    tied: bool = False
    highest: bool = False


@dataclass
class Row:
    """An entry and where it stands, by the task's slug."""

    entry: Entry
    standings: dict[str, Standing] = field(default_factory=dict)

    def on(self, tasks: Sequence[TaskPage]) -> list[Standing]:
        """Where it stands on those of these tasks that it was evaluated on."""
        return [self.standings[task.slug] for task in tasks if task.slug in self.standings]

    def mean(self, tasks: Sequence[TaskPage]) -> float | None:
        """Mean over tasks, whichever their metrics; None unless there is a score within 0 and 1 on each."""
        values = [self.standings[task.slug].value for task in tasks if task.slug in self.standings]
        if len(values) < len(tasks) or not values or any(task.metric in UNBOUNDED_METRICS for task in tasks):
            return None
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if len(known) == len(values) else None


@dataclass(frozen=True)
class Board:
    """The scores that compare with one another: of one protocol and one probe (with its setting).

    Attributes:
        tasks: those evaluated so, by domain.
        rows: ours: models, best mean first, then controls.
        published: of the same protocol, on these tasks.
        means: published means over the papers' own tasks, of the same protocol.
        elsewhere: published under another protocol, by its name: to look at, not to compare.
        tested: whether paired tests compared any rows.
    """

    protocol: str
    probe: str
    tasks: list[TaskPage]
    rows: list[Row]
    published: list[Row]
    means: list[PublishedScore]
    elsewhere: dict[str, list[Row]]
    tested: bool = False

    @property
    def title(self) -> str:
        return f"{protocol_title(self.protocol)}, {self.probe}"

    @property
    def changes(self) -> str:
        """The settings that are not the protocol's own, in words; empty where all are."""
        return changes_of(self.protocol)

    def averaged(self, tasks: Sequence[TaskPage]) -> bool:
        """Whether a mean over tasks says more than one of them does, or than one on several sets of clips."""
        return len({(task.about["name"], task.about["label"]) for task in tasks}) > 1

    @property
    def slug(self) -> str:
        return f"{self.protocol}|{self.probe}"


def boards(
    study: Study, published: Sequence[PublishedScore], compared: Mapping[tuple[str, str, str], Sequence[Comparison]]
) -> list[Board]:
    """Every board of a study: the usual protocols first, a protocol's main result before its others.

    Args:
        compared: by task slug, protocol and probe.
    """
    found = []
    for protocol, probe in _kinds(study):
        rows = {entry.key: Row(entry) for entry in study.entries}
        tasks = []
        for task in study.tasks:
            for entry in study.entries:
                standing = standing_of(task, task.of(protocol, entry), probe)
                if standing is not None:
                    rows[entry.key].standings[task.slug] = standing
            if any(task.slug in row.standings for row in rows.values()):
                tasks.append(task)
        ours = [row for row in rows.values() if row.standings]
        ours.sort(key=lambda row: (row.entry.kind != "model", -_sort_value(row, tasks)))
        theirs = published_rows(published, tasks)
        same = theirs.pop(protocol, [])
        for task in tasks:
            _mark_best(task, ours, same, compared.get((task.slug, protocol, probe), ()))
        means = [score for score in published if (score.task, score.protocol) == (MEAN, protocol)]
        tested = any(compared.get((task.slug, protocol, probe)) for task in tasks)
        found.append(Board(protocol, probe, tasks, ours, same, means, theirs, tested))
    return found


def standing_of(task: TaskPage, cells: Sequence[Cell], probe: str, metric: str | None = None) -> Standing | None:
    """What the cells of one entry say of a metric (the task's own, if None), several draws as their mean."""
    scores: list[dict[str, Any]] = []
    for cell in cells:
        for result in cell.about["results"]:
            if result["title"] == probe and (metric or task.metric) in result["metrics"]:
                scores.append(result["metrics"][metric or task.metric])
    if not scores:
        return None
    if len(scores) == 1:
        score = scores[0]
        return Standing(score["value"], score["low"], score["high"], score["std"])
    values = [score["value"] for score in scores if score["value"] is not None]
    if not values:
        return Standing(None, draws=len(scores))
    return Standing(
        float(np.mean(values)), std=float(np.std(values, ddof=1)) if values[1:] else None, draws=len(scores)
    )


def published_rows(published: Sequence[PublishedScore], tasks: Sequence[TaskPage]) -> dict[str, list[Row]]:
    """Rows of published scores on these tasks' own metrics, by protocol, best mean first."""
    slugs: dict[tuple[str, str], list[str]] = {}
    for task in tasks:
        slugs.setdefault((task.about["name"], task.metric), []).append(task.slug)
    found: dict[str, dict[tuple[str, int | None], Row]] = {}
    for score in published:
        if (score.task, score.metric) not in slugs:
            continue
        key = (score.model, score.dim)
        rows = found.setdefault(score.protocol, {})
        row = rows.setdefault(key, Row(Entry(("published", *key), score.model, "published", score.dim)))
        for slug in slugs[score.task, score.metric]:
            row.standings[slug] = Standing(score.value, source=score.source, note=score.note)
    return {
        protocol: sorted(rows.values(), key=lambda row: -_sort_value(row, tasks)) for protocol, rows in found.items()
    }


def _kinds(study: Study) -> list[tuple[str, str]]:
    """Every protocol with each of its results' titles, in order of appearance within the protocol."""
    found: dict[str, dict[str, None]] = {name: {} for name in ordered_protocols(study.cells)}
    for cell in study.cells:
        for result in cell.about["results"]:
            found[protocol_of(cell)][result["title"]] = None
    return [(protocol, title) for protocol, titles in found.items() for title in titles]


def _sort_value(row: Row, tasks: Sequence[TaskPage]) -> float:
    """The mean over tasks, rows with fewer tasks below."""
    values = [standing.value or 0.0 for standing in row.standings.values()]
    return len(values) * 1000 / max(1, len(tasks)) + (float(np.mean(values)) if values else 0.0)


def _mark_best(task: TaskPage, ours: list[Row], published: list[Row], compared: Sequence[Comparison]) -> None:
    """Mark the best of our rows, those not told from it, and where a test is missing the highest of all.

    Published rows, which no test can reach, count where the task is the whole set with its own split.
    """
    slug = task.slug
    sign = -1 if task.metric in LOWER_IS_BETTER else 1

    def value(row: Row) -> float:
        return sign * (row.standings[slug].value or 0.0)

    def known(rows: Sequence[Row]) -> list[Row]:
        return [row for row in rows if slug in row.standings and row.standings[slug].value is not None]

    own, theirs = known(ours), [] if task.warnings else known(published)
    if len(own) + len(theirs) < 2 or not own:
        return
    best, highest = max(own, key=value), max(own + theirs, key=value)
    p_values = {
        key: found.p_adjusted
        for found in compared
        for key, other in ((found.first.key, found.second.key), (found.second.key, found.first.key))
        if other == best.entry.key
    }
    others = [row for row in own if row is not best]
    tested = bool(others) and all(row.entry.key in p_values for row in others)
    for row in others:
        # A p value that is no number tells nothing apart.
        if not p_values.get(row.entry.key, 0.0) < SIGNIFICANT:
            row.standings[slug] = replace(row.standings[slug], tied=True)
    if tested:
        best.standings[slug] = replace(best.standings[slug], best=True)
    if highest is not best or not tested:
        highest.standings[slug] = replace(highest.standings[slug], highest=True)
