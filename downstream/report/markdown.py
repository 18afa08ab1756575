"""The report as Markdown: leaderboards, scores task by task, comparisons, and the commands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from byol_a.words import printable
from downstream.published import PublishedScore
from downstream.report.board import SIGNIFICANT, Board, Row, Standing, published_rows, standing_of
from downstream.report.comparisons import Comparison
from downstream.report.pieces import HIGHEST, TIED, row_marks
from downstream.report.runs import command_of
from downstream.report.study import DOMAIN_ORDER, Study, TaskPage, changes_of, protocol_of, protocol_title
from downstream.report.wording import (
    DOMAINS,
    NOTHING,
    folds_or_parts,
    interval,
    mean_over,
    metric_head,
    number,
    p_value,
    signed,
)


def markdown(
    study: Study,
    found: Sequence[Board],
    published: Sequence[PublishedScore],
    compared: Mapping[tuple[str, str, str], Sequence[Comparison]],
    title: str,
    damaged: Sequence[str] = (),
) -> str:
    """The whole file; `damaged` says what could not be read."""
    lines = [f"# {plain(title)}", ""]
    lines += [f"> {plain(line)}" for line in damaged] + ([""] if damaged else [])
    lines += [*LEGEND, ""]
    for board in found:
        lines += _board(board)
    for task in study.tasks:
        lines += _task(task, study, published, compared)
    return "\n".join(lines).rstrip() + "\n"


LEGEND = (
    "Scores, with [95 % bootstrap intervals over test clips] where there is one evaluation; ± is the standard "
    "deviation over a probe's seeds, or over draws of random weights, whose mean stands there.",
    "",
    "- **Bold** is the best of the rows evaluated here, each other one of which a paired test compared with it; "
    f"{TIED} marks those that the test does not tell from it (p ≥ 0.05, adjusted by Holm).",
    f"- {HIGHEST} is just the highest: that was not tested, or cannot be, as of published scores. Not tested are "
    "probes beside a protocol's main one, points of a curve, and controls against one another.",
    "- *Italic* rows are controls: what an encoder that learned nothing reaches.",
    "- Published rows have their source in the task's table. Only those of the same protocol compare, and only where "
    "the task is whole and its split official.",
    "- † has reservations, given with the task. ‡ has settings that are not the protocol's own; such rows compare "
    "with one another only.",
)


def plain(text: object) -> str:
    """Text that stays text in Markdown, on one line."""
    escaped = re.sub(r"([\\`*_\[\]<>|#~$])", r"\\\1", printable(str(text)))
    return re.sub(r"&(?=#?\w+;)", r"\\&", escaped)


def code(text: str) -> str:
    """A block of code whose fence no line of it can close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}sh\n{printable(text)}\n{fence}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table; the first column is left-aligned and the others right. Cells are Markdown already."""
    ruler = [":--", *["--:"] * (len(heads) - 1)]
    return ["| " + " | ".join(line) + " |" for line in (heads, ruler, *rows)] + [""]


def _board(board: Board) -> list[str]:
    lines = [f"## {plain(board.title)}", ""]
    lines += [] if board.tested else ["Differences were not tested here.", ""]
    for domain in DOMAIN_ORDER:
        tasks = [
            t
            for t in board.tasks
            if t.about["domain"] == domain or (domain == "any" and t.about["domain"] not in DOMAIN_ORDER)
        ]
        if not tasks:
            continue
        heads = [DOMAINS[domain], "dim", *[_flagged(task) for task in tasks]]
        ours = [row for row in board.rows if row.on(tasks)]
        rows = [_board_row(row, tasks, _marks(row.on(tasks), board.changes)) for row in ours]
        for protocol, theirs in [(board.protocol, board.published), *board.elsewhere.items()]:
            partial = "; not comparable on †" if any(task.warnings for task in tasks) else ""
            other = partial if protocol == board.protocol else f", {protocol_title(protocol)}: not comparable"
            rows += [_board_row(row, tasks, f" (published{other})") for row in theirs if row.on(tasks)]
        if board.averaged(tasks):
            heads.append("mean")
            means = [row.mean(tasks) for row in ours]
            for cells, mean in zip(rows, means, strict=False):
                cells.append(NOTHING if mean is None else f"{100 * mean:.1f}")
            for cells in rows[len(means) :]:
                cells.append("")
        lines += table(heads, rows)
    for score in sorted(board.means, key=lambda score: -score.value):
        told = "; ".join(filter(None, (score.source, score.note, mean_over(score.mean_over))))
        name = score.model if score.dim is None else f"{score.model}, dim {score.dim:,}"
        lines.append(f"- {plain(name)} (published mean): {100 * score.value:.1f}. {plain(told)}.")
    return lines + ([""] if board.means else [])


def _marks(standings: Sequence[Standing], changes: str) -> str:
    """What stands behind a row's name."""
    told = row_marks(standings, changes)
    return f" ({'; '.join(told)})" if told else ""


def _flagged(task: TaskPage) -> str:
    flag = " †" if task.warnings else ""
    return f"{plain(task.title)}{flag}, {plain(metric_head(task.metric))}, {task.about['tested']:,} tested"


def _board_row(row: Row, tasks: Sequence[TaskPage], note: str = "") -> list[str]:
    name = plain(row.entry.label)
    name = f"*{name}*" if row.entry.kind in ("random", "logmel") else name
    cells = [_score(task.metric, row.standings.get(task.slug)) for task in tasks]
    return [name + plain(note), _dim(row.entry.dim), *cells]


def _dim(dim: int | None) -> str:
    return "" if dim is None else f"{dim}"


def _score(metric: str, standing: Standing | None) -> str:
    if standing is None:
        return NOTHING
    value = number(metric, standing.value)
    value = f"**{value}**" if standing.best else value
    value += f" {HIGHEST}" * standing.highest + f" {TIED}" * standing.tied
    spread = "" if standing.std is None else f" ± {number(metric, standing.std)}"
    span = interval(metric, standing.low, standing.high)
    return value + spread + (f" [{span}]" if span else "")


def _task(
    task: TaskPage,
    study: Study,
    published: Sequence[PublishedScore],
    compared: Mapping[tuple[str, str, str], Sequence[Comparison]],
) -> list[str]:
    about = task.about
    lines = [f"## {plain(task.title)}", ""]
    parts = about.get("parts") or {}
    facts = [about["label"], f"{len(about['classes']):,} classes", f"{about['clips']:,} clips"]
    facts[2] += f" ({folds_or_parts(parts)})" if parts else ""
    facts += [f"{about['tested']:,} tested", about["split"]]
    if about["unusable"]:
        facts.append(f"{about['unusable']:,} unusable files, left out of the scores")
    lines += [plain(", ".join(facts)) + ".", ""]
    lines += [f"> † {plain(warning)}" for warning in task.warnings] + ([""] if task.warnings else [])
    names = list(dict.fromkeys(name for cell in task.cells for r in cell.about["results"] for name in r["metrics"]))
    names.sort(key=lambda name: name != task.metric)
    rows = []
    for protocol in task.protocols:
        titles = dict.fromkeys(r["title"] for c in task.cells if protocol_of(c) == protocol for r in c.about["results"])
        for probe in titles:
            for entry in study.entries:
                cells = task.of(protocol, entry)
                standing = standing_of(task, cells, probe)
                if standing is not None:
                    scores = [_score(name, standing_of(task, cells, probe, name)) for name in names]
                    label = plain(entry.label)
                    label = label if entry.kind == "model" else f"*{label}*"
                    label += plain(_marks([standing], changes_of(protocol)))
                    rows.append([label, _dim(entry.dim), plain(protocol), plain(probe), *scores])
    for protocol, theirs in published_rows(published, [task]).items():
        for row in theirs:
            standing = row.standings[task.slug]
            scores = [number(task.metric, standing.value), *[""] * (len(names) - 1)]
            told = "; ".join(filter(None, (standing.source, standing.note)))
            label = f"{plain(row.entry.label)} (published: {plain(told)})"
            rows.append([label, _dim(row.entry.dim), plain(protocol), "", *scores])
    lines += table(["Model", "dim", "protocol", "probe", *[plain(metric_head(name)) for name in names]], rows)
    lines += _differences(task, compared)
    commands = dict.fromkeys(command_of(cell) for cell in task.cells)
    lines += ["Commands:", "", code("\n".join(commands)), ""]
    return lines


def _differences(task: TaskPage, compared: Mapping[tuple[str, str, str], Sequence[Comparison]]) -> list[str]:
    rows, tests = [], set()
    for (slug, protocol, probe), pairs in compared.items():
        for pair in pairs if slug == task.slug else ():
            paired = pair.paired
            tests.add(paired.test)
            known = paired.p_value == paired.p_value
            difference = signed(task.metric, paired.difference) if known else NOTHING
            span = interval(task.metric, paired.low, paired.high).replace("–", " to ")
            verdict = "holds" if known and pair.p_adjusted < SIGNIFICANT else "not told apart"
            names = f"{plain(pair.first.label)} over {plain(pair.second.label)}"
            p = p_value(pair.p_adjusted) if known else NOTHING
            rows.append([names, plain(f"{protocol}, {probe}"), f"{difference} [{span}]", plain(p), verdict])
    if not rows:
        return []
    return [
        f"Paired comparison on the same test clips ({', '.join(sorted(tests))}; p adjusted by Holm over each "
        "evaluation):",
        "",
        *table(["Pair", "evaluation", "difference", "p", "verdict"], rows),
    ]
