"""The first page: who stands where on which task, by domain, for every protocol and probe."""

from __future__ import annotations

from collections.abc import Sequence

from downstream.metrics import UNBOUNDED_METRICS
from downstream.published import PublishedScore
from downstream.report.board import Board, Row, Standing
from downstream.report.charts import Axis, full_axis, whisker
from downstream.report.markup import EMPTY, Html, join, tag
from downstream.report.pieces import (
    caption,
    chance_of,
    group,
    row_name,
    score_text,
    scrolling,
)
from downstream.report.study import DOMAIN_ORDER, Entry, TaskPage, protocol_title
from downstream.report.wording import DOMAINS, NOTHING, mean_over, metric_title

GROUPS = {"model": "Models", "control": "Controls: what an encoder that learned nothing reaches"}


def leaderboard(boards: Sequence[Board]) -> Html:
    """Every board, of which the page shows one at a time."""
    return tag(
        "div",
        _choice(boards),
        *[_board(board, first=board is boards[0]) for board in boards],
        tag("p", _legend(), class_="note legend-line"),
    )


def _choice(boards: Sequence[Board]) -> Html:
    protocols = list(dict.fromkeys(board.protocol for board in boards))
    options = [tag("option", name, value=name) for name in protocols]
    probes = [tag("option", board.probe, value=board.slug, data_protocol=board.protocol) for board in boards]
    return tag(
        "div",
        tag("label", "Protocol ", tag("select", *options, id="choose-protocol")),
        tag("label", "Probe ", tag("select", *probes, id="choose-probe")),
        class_="choice script",
        role="group",
        aria_label="Which scores to show",
    )


def _board(board: Board, first: bool) -> Html:
    by_domain: dict[str, list[TaskPage]] = {}
    for task in board.tasks:
        domain = task.about["domain"]
        by_domain.setdefault(domain if domain in DOMAIN_ORDER else "any", []).append(task)
    parts = [_overview(board, by_domain)] if board.averaged(board.tasks) else []
    parts += [_domain(board, domain, tasks) for domain, tasks in by_domain.items()]
    heading = tag("h2", board.title, class_="board-title")
    said = [
        f"‡ Settings that are not the protocol's own: {board.changes}. These rows compare with one another only."
        if board.changes
        else "",
        "" if board.tested else "Differences were not tested here.",
    ]
    note = " ".join(filter(None, said))
    return tag(
        "section",
        heading,
        tag("p", note, class_="note") if note else EMPTY,
        *parts,
        class_="board",
        data_board=board.slug,
        data_first=first,
    )


def _overview(board: Board, by_domain: dict[str, list[TaskPage]]) -> Html:
    """Means over all tasks, and by domain where it has several, of rows that have every task."""
    groups = [(DOMAINS[domain], tasks) for domain, tasks in by_domain.items() if board.averaged(tasks)]
    if len(by_domain) > 1:
        groups.insert(0, ("All tasks", board.tasks))
    heads = [
        tag("th", title, tag("small", f"{len(tasks)} task{'s'[: len(tasks) > 1]}"), scope="col")
        for title, tasks in groups
    ]

    def row(row: Row) -> Html:
        cells = []
        for _, tasks in groups:
            mean = row.mean(tasks)
            found = sum(task.slug in row.standings for task in tasks)
            if mean is None:
                text: Html = tag("span", f"{found} of {len(tasks)} tasks" if found else NOTHING, class_="faint")
            else:
                bar = whisker(Standing(mean), Axis(0.0, 1.0, ()), row.entry)
                text = join([tag("span", f"{100 * mean:.1f}", class_="value"), bar])
            cells.append(tag("td", text, class_="score"))
        return _row(row, cells, [], board.changes)

    said = caption(
        tag("b", "Means over tasks"),
        tag("span", " of each task's own metric in per cent; only where every task of the column was evaluated."),
    )
    head = tag("thead", tag("tr", tag("th", "Model", scope="col"), tag("th", "dim", scope="col", class_="n"), *heads))
    bodies = [*_bodies(board, row, len(groups) + 2), *_published_means(board, len(groups))]
    return scrolling(tag("table", said, head, *bodies, class_="board-table"), "Means over tasks")


def _published_means(board: Board, columns: int) -> list[Html]:
    """Means that papers give over tasks of their own choice, which need not be those of the column."""
    over: dict[tuple[str, ...], list[PublishedScore]] = {}
    for score in sorted(board.means, key=lambda score: -score.value):
        over.setdefault(tuple(sorted(score.mean_over)), []).append(score)
    return [_means_over(board, tasks, scores, columns) for tasks, scores in over.items()]


def _means_over(board: Board, tasks: Sequence[str], scores: Sequence[PublishedScore], columns: int) -> Html:
    empty = [tag("td", class_="score")] * (columns - 1)
    rows = []
    for score in scores:
        entry = Entry(("published", score.model), score.model, "published", score.dim)
        value = tag("td", tag("span", f"{100 * score.value:.1f}", class_="value"), class_="score")
        standing = Standing(score.value, source=score.source, note=score.note)
        rows.append(_row(Row(entry, {"": standing}), [value, *empty], []))
    other = "" if {task.about["name"] for task in board.tasks} == set(tasks) else ", not those above"
    title = f"Published, {board.protocol} protocol: {mean_over(tasks)}{other}"
    return group(title, rows, columns + 2, "published elsewhere")


def _domain(board: Board, domain: str, tasks: list[TaskPage]) -> Html:
    axes = {}
    for task in tasks:
        values = [r.standings[task.slug].value or 0 for r in board.rows if task.slug in r.standings]
        axes[task.slug] = full_axis(task.metric not in UNBOUNDED_METRICS, max(values, default=1))

    def row(row: Row) -> Html:
        cells = []
        for task in tasks:
            standing = row.standings.get(task.slug)
            if standing is None:
                cells.append(tag("td", tag("span", NOTHING, class_="faint"), class_="score"))
                continue
            bar = whisker(standing, axes[task.slug], row.entry, chance_of(task))
            cells.append(tag("td", score_text(task.metric, standing), bar, class_="score"))
        return _row(row, cells, row.on(tasks), board.changes)

    unit = (
        "per cent"
        if all(task.metric not in UNBOUNDED_METRICS for task in tasks)
        else "per cent where the metric allows"
    )
    draws = any(standing.draws > 1 for row in board.rows for standing in row.on(tasks))
    spread = "; means over several draws of random weights with ± their standard deviation" if draws else ""
    said = caption(tag("b", DOMAINS[domain]), tag("span", f", {unit}, with 95 % intervals{spread}"))
    head = tag(
        "tr", tag("th", "Model", scope="col"), tag("th", "dim", scope="col", class_="n"), *map(_task_head, tasks)
    )
    body = _bodies(board, row, len(tasks) + 2, tasks)
    return scrolling(tag("table", said, tag("thead", head), *body, class_="board-table"), DOMAINS[domain])


def _task_head(task: TaskPage) -> Html:
    flag = (
        tag(
            "a",
            "†",
            href=f"#/{task.slug}",
            class_="flag",
            title="; ".join(task.warnings),
            aria_label="with reservations",
        )
        if task.warnings
        else EMPTY
    )
    facts = f"{metric_title(task.metric)} · {len(task.about['classes']):,} classes · {task.about['tested']:,} tested"
    return tag("th", tag("a", task.title, href=f"#/{task.slug}"), flag, tag("small", facts), scope="col")


def _bodies(board: Board, row: object, columns: int, tasks: Sequence[TaskPage] = ()) -> list[Html]:
    """Groups of rows: models, controls, published; those with a score on these tasks, or if there are none, our own."""
    assert callable(row)

    def body(title: str, rows: Sequence[Row], kind: str) -> Html:
        return group(title, [row(each) for each in rows], columns, kind)

    ours = [each for each in board.rows if each.on(tasks) or not tasks]
    models = [each for each in ours if each.entry.kind == "model"]
    controls = [each for each in ours if each.entry.kind != "model"]
    found = [body(GROUPS["model"], models, "models")] if models else []
    found += [body(GROUPS["control"], controls, "controls")] if controls else []
    if not tasks:
        return found
    theirs = [(board.protocol, board.published), *board.elsewhere.items()]
    for protocol, rows in theirs:
        here = [each for each in rows if each.on(tasks)]
        if here:
            same = protocol == board.protocol
            partial = "; on tasks with † not comparable" if any(task.warnings for task in tasks) else ""
            title = f"Published, {protocol_title(protocol)}"
            title += partial if same else ": not comparable with the rows above"
            found.append(body(title, here, "published" if same else "published elsewhere"))
    return found


def _row(row: Row, cells: list[Html], standings: Sequence[Standing], changes: str = "") -> Html:
    dim = "" if row.entry.dim is None else f"{row.entry.dim:,}"
    head = row_name(row, standings, "" if row.entry.kind == "published" else changes)
    return tag(
        "tr",
        head,
        tag("td", dim, class_="n dim"),
        *cells,
    )


def _legend() -> Html:
    return join(
        [
            "Small figures are 95 % bootstrap intervals over test clips; ± is the standard deviation over draws of "
            "random weights, whose mean stands there. The line under a score is the same on a scale from 0 to 100 %, "
            "a tick marks chance. ",
            tag("b", "Bold"),
            " is the best of the rows evaluated here, each other one of which a paired test compared with it; ≈ "
            "marks those that the test does not tell from it (Holm-adjusted p ≥ 0.05). ▲ is just the highest: that "
            "was not tested, or cannot be, as of published scores (hollow), which count only where the task is whole "
            "and its split official. Not tested are probes beside a protocol's main one, points of a curve, and "
            "controls against one another. "
            "† has reservations, given on the task's page. ‡ has settings that are not the protocol's own.",
        ]
    )
