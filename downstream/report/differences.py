"""Which rows of a task differ: a table of paired comparisons, and learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from downstream.report.board import SIGNIFICANT, standing_of
from downstream.report.charts import Series, curve, curve_table, difference_whisker
from downstream.report.comparisons import Comparison
from downstream.report.markup import EMPTY, Html, tag
from downstream.report.pieces import caption, entry_name, group, scrolling
from downstream.report.study import Study, TaskPage, curve_of
from downstream.report.wording import NOTHING, interval, metric_title, p_value, scale, signed


def comparison_table(task: TaskPage, compared: Mapping[tuple[str, str, str], Sequence[Comparison]]) -> Html:
    bodies = []
    found = {key: pairs for key, pairs in compared.items() if key[0] == task.slug}
    bounds = [
        abs(edge) for pairs in found.values() for c in pairs for edge in (c.paired.low, c.paired.high) if edge == edge
    ]
    widest = max([*bounds, 1e-6])
    for (_, protocol, probe), pairs in found.items():
        bodies.append(group(f"{protocol} · {probe}", [_pair(task, pair, widest) for pair in pairs], 5))
    if not bodies:
        return EMPTY
    unit = "points" if scale(task.metric) == 100 else metric_title(task.metric)
    head = tag(
        "tr",
        tag("th", "Better than", scope="col"),
        tag("th", f"by ({unit})", scope="col", class_="n"),
        tag(
            "th",
            tag("span", "interval", class_="unseen"),
            tag("span", "← 0 →", class_="zero-head", aria_hidden="true"),
            scope="col",
            class_="forest",
        ),
        tag("th", "p (Holm)", scope="col", class_="n"),
        tag("th", "Verdict", scope="col"),
    )
    tests = sorted({c.paired.test for pairs in found.values() for c in pairs})
    said = caption(
        tag("b", "Paired comparison"),
        f" on the same test clips: difference of {metric_title(task.metric)} with its 95 % interval; "
        f"{', '.join(tests)}, p adjusted by Holm over each group. Training is not repeated, so this says what other "
        "test clips might change.",
    )
    table = tag("table", said, tag("thead", head), *bodies, class_="scores compare")
    return tag("section", tag("h2", "Which differences hold"), scrolling(table, f"Paired comparisons on {task.title}"))


def _pair(task: TaskPage, pair: Comparison, widest: float) -> Html:
    paired, metric = pair.paired, task.metric
    known = paired.p_value == paired.p_value
    verdict = "no clip can tell"
    if known:
        verdict = "holds" if pair.p_adjusted < SIGNIFICANT else "not told apart"
    left_out = f"{paired.clips:,} clips" + (f", {paired.left_out:,} tested by one only" if paired.left_out else "")
    return tag(
        "tr",
        tag("th", entry_name(pair.first), tag("span", " over ", class_="faint"), entry_name(pair.second), scope="row"),
        tag(
            "td",
            tag("span", signed(metric, paired.difference), class_="value"),
            tag("span", interval(metric, paired.low, paired.high).replace("–", " to "), class_="interval"),
            class_="n",
        ),
        tag(
            "td",
            difference_whisker(paired.difference, paired.low, paired.high, widest) if known else "",
            class_="forest",
        ),
        tag("td", p_value(pair.p_adjusted) if known else NOTHING, class_="n"),
        tag("td", tag("span", verdict, class_="holds" if verdict == "holds" else "faint"), tag("small", left_out)),
        class_="holds" if verdict == "holds" else None,
    )


def curves_of(task: TaskPage, study: Study) -> dict[tuple[str, str, str], list[Series]]:
    """Curves by protocol, probe and what they go over."""
    found: dict[tuple[str, str, str], list[Series]] = {}
    for protocol in task.protocols:
        for entry in study.entries:
            cells = task.of(protocol, entry)
            for result in cells[0].about["results"] if cells else []:
                point = curve_of(result)
                standing = standing_of(task, cells, result["title"])
                if point is None or standing is None:
                    continue
                lines = found.setdefault((protocol, result["probe"], point[0]), [])
                if not lines or lines[-1].entry is not entry:
                    lines.append(Series(entry, []))
                lines[-1].points.append((point[1], standing))
    for lines in found.values():
        for line in lines:
            line.points.sort(key=lambda point: point[0])
    return {key: lines for key, lines in found.items() if any(len(line.points) > 1 for line in lines)}


def curve_figures(task: TaskPage, study: Study) -> list[Html]:
    figures = []
    for (protocol, probe, over), lines in curves_of(task, study).items():
        title = {"shots": "Few-shot", "fraction": "Label fraction"}[over]
        description = (
            f"{title} learning curve on {task.title}: {metric_title(task.metric)} of {probe} for {len(lines)} rows; "
            "the table below gives the numbers"
        )
        figure = tag(
            "figure",
            tag("figcaption", tag("b", title), f" · {protocol}, {probe}. Bands are 95 % intervals."),
            curve(lines, task.metric, over, description),
            scrolling(curve_table(lines, task.metric, over), f"{title} numbers"),
        )
        figures.append(figure)
    if not figures:
        return []
    return [tag("section", tag("h2", "Learning curves"), tag("div", *figures, class_="figures"))]
