"""A task's scores in one table: rows by protocol and probe, and the intervals of all on one axis."""

from __future__ import annotations

from collections.abc import Sequence

from downstream.metrics import UNBOUNDED_METRICS
from downstream.published import PublishedScore
from downstream.report.board import Row, Standing, published_rows, standing_of
from downstream.report.charts import Axis, axis_over, ticks, whisker
from downstream.report.markup import Html, join, tag
from downstream.report.pieces import (
    caption,
    chance_of,
    group,
    row_name,
    score_text,
    scrolling,
)
from downstream.report.study import Study, TaskPage, changes_of, curve_of, protocol_of
from downstream.report.wording import NOTHING, interval, metric_head, metric_title, number
from downstream.results import Cell

MOST_BESIDE = 4  # metrics beside the task's own


def score_table(task: TaskPage, study: Study, published: Sequence[PublishedScore]) -> Html:
    """One table: rows by protocol and probe, and the intervals of all on one axis."""
    groups = []
    for protocol in task.protocols:
        for probe in _probes(task, protocol):
            rows = []
            for entry in study.entries:
                cells = task.of(protocol, entry)
                standing = standing_of(task, cells, probe)
                if standing is not None:
                    rows.append((Row(entry, {task.slug: standing}), cells))
            rows.sort(key=lambda item: -(item[0].standings[task.slug].value or 0))
            groups.append((protocol, probe, rows))
    theirs = published_rows(published, [task])
    every = [row.standings[task.slug] for _, _, rows in groups for row, _ in rows]
    every += [row.standings[task.slug] for rows in theirs.values() for row in rows]
    values = [value for s in every for value in (s.value, s.low, s.high) if value is not None]
    draws = any(standing.draws > 1 for standing in every)
    axis = axis_over(values, task.metric not in UNBOUNDED_METRICS)
    beside = _beside(task)
    bodies = []
    for protocol, probe, rows in groups:
        changes = changes_of(protocol)
        lines = [_score_row(task, row, axis, _others(task, cells, probe, beside), changes) for row, cells in rows]
        bodies.append(group(f"{protocol} · {probe}", lines, len(beside) + 3))
    for protocol, found in theirs.items():
        lines = [_score_row(task, row, axis, [NOTHING] * len(beside)) for row in found]
        bodies.append(group(f"Published, {protocol} protocol", lines, len(beside) + 3, "published"))
    head = tag(
        "tr",
        tag("th", "Model", scope="col"),
        tag("th", metric_head(task.metric), scope="col", class_="n"),
        tag(
            "th", tag("span", "95 % interval", class_="unseen"), ticks(axis, task.metric), scope="col", class_="forest"
        ),
        *[tag("th", metric_head(name), scope="col", class_="n") for name in beside],
    )
    said = caption(
        tag(
            "b",
            metric_title(task.metric).capitalize()
            if metric_title(task.metric).islower()
            else metric_title(task.metric),
        ),
        " first, other metrics beside. Lines are 95 % bootstrap intervals over test clips"
        + ("; of several draws of random weights, ± their standard deviation." if draws else "."),
    )
    table = tag("table", said, tag("thead", head), *bodies, class_="scores")
    return tag("section", tag("h2", "Scores"), scrolling(table, f"Scores on {task.title}"))


def _probes(task: TaskPage, protocol: str) -> list[str]:
    """Results' titles under a protocol; of a curve only the first point, as the chart shows all."""
    found: dict[str, None] = {}
    curves = set()
    for cell in task.cells:
        if protocol_of(cell) == protocol:
            for result in cell.about["results"]:
                point = curve_of(result)
                if point is not None and (result["probe"], point[0]) in curves and result["title"] not in found:
                    continue
                if point is not None:
                    curves.add((result["probe"], point[0]))
                found[result["title"]] = None
    return list(found)


def _beside(task: TaskPage) -> list[str]:
    names = list(dict.fromkeys(name for cell in task.cells for r in cell.about["results"] for name in r["metrics"]))
    return [name for name in names if name != task.metric][:MOST_BESIDE]


def _others(task: TaskPage, cells: Sequence[Cell], probe: str, names: Sequence[str]) -> list[str]:
    found = []
    for name in names:
        standing = standing_of(task, cells, probe, name)
        found.append(NOTHING if standing is None else number(name, standing.value))
    return found


def _score_row(task: TaskPage, row: Row, axis: Axis, others: Sequence[str], changes: str = "") -> Html:
    standing = row.standings[task.slug]
    return tag(
        "tr",
        row_name(row, [standing], changes, with_dim=True),
        tag("td", _with_spread(task, standing), class_="n"),
        tag("td", whisker(standing, axis, row.entry, chance_of(task)), class_="forest"),
        *[tag("td", text, class_="n") for text in others],
        class_=f"row-{row.entry.kind}",
    )


def _with_spread(task: TaskPage, standing: Standing) -> Html:
    if standing.std is None or standing.draws > 1:
        return score_text(task.metric, standing)
    spread = tag(
        "span", f" ± {number(task.metric, standing.std)}", class_="spread", title="standard deviation over seeds"
    )
    value = tag("span", number(task.metric, standing.value), class_="value")
    return join([value, spread, tag("span", interval(task.metric, standing.low, standing.high), class_="interval")])
