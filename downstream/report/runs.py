"""How each score came about: the command to type, what ran where, and what was chosen."""

from __future__ import annotations

from typing import Any

from byol_a.progress import format_duration
from downstream.report.markup import Html, tag
from downstream.report.study import Study, TaskPage, protocol_of
from downstream.report.wording import chosen_range, number, settings
from downstream.results import Cell


def run_details(task: TaskPage, study: Study) -> Html:
    """One fold-out for each evaluation of a task."""
    blocks = [
        _run(task, cell, study.entry_of(cell).label)
        for protocol in task.protocols
        for cell in task.cells
        if protocol_of(cell) == protocol
    ]
    return tag("section", tag("h2", "Runs and commands"), *blocks, class_="runs")


def facts_of(cell: Cell) -> dict[str, str]:
    """What there is to say of a run, in words."""
    entrant, protocol, run = cell.about["entrant"], cell.about["protocol"], cell.about["run"]
    seconds = f"{format_duration(run['seconds'])} to score, {format_duration(run['embedding_seconds'])} to embed before"
    model = f"{entrant['model']} (fingerprint {entrant['fingerprint'][:16]})"
    if entrant["weight_seed"] is not None:
        model += f", weights of seed {entrant['weight_seed']}"
    layer = "the last" if entrant["layer"] is None else entrant["layer"]
    return {
        "Model": model,
        "Embedding": f"{entrant['dim']:,} dimensions, pooling {entrant['pooling'] or 'of its own'}, layer {layer}",
        "Protocol": f"{protocol['name']}: {settings(protocol['settings'])}",
        "Started": str(run["started"]),
        "Took": seconds,
        "On": f"{run['device']}, {run['cores']} cores",
        "Versions": f"byol-a {run['package_version']}, Python {run['python']}, torch {run['torch']}",
    }


def command_of(cell: Cell) -> str:
    """The command as it was typed."""
    return str(cell.about["run"]["command"])


def _run(task: TaskPage, cell: Cell, label: str) -> Html:
    seed = cell.about["entrant"]["weight_seed"]
    title = f"{protocol_of(cell)} · {label}" + (f" · seed {seed}" if seed is not None else "")
    items = [tag("div", tag("dt", key), tag("dd", value)) for key, value in facts_of(cell).items()]
    for result in cell.about["results"]:
        items.append(tag("div", tag("dt", result["title"]), tag("dd", _result(task, result))))
    return tag(
        "details",
        tag("summary", title),
        tag(
            "div",
            tag("pre", tag("code", command_of(cell)), tabindex="0"),
            tag("button", "Copy", type="button", class_="copy script", aria_label=f"Copy the command of {title}"),
            class_="command",
        ),
        tag("dl", *items, class_="facts"),
    )


def _result(task: TaskPage, result: dict[str, Any]) -> str:
    score = result["metrics"].get(task.metric, {})
    parts = [f"{task.metric.replace('_', ' ')} {number(task.metric, score.get('value'))}"]
    folds = score.get("fold_scores") or []
    if len(folds) > 1:
        parts.append("folds " + " ".join(number(task.metric, value) for value in folds))
    if result["seeds"]:
        parts.append("seeds " + " ".join(str(seed) for seed in result["seeds"]))
    chosen = chosen_range(result["chosen"])
    return "; ".join([*parts, *([chosen] if chosen else [])])
