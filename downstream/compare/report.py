"""A comparison as text: the table that is printed, and compare.md, compare.csv, compare.json."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from byol_a.files import atomic_file, write_json
from byol_a.words import counted, printable
from downstream.compare.measures import COLLAPSED
from downstream.compare.summary import (
    Budget,
    Column,
    Row,
    as_json,
    clips_of,
    columns_for,
    further_columns,
    mean_and_deviation,
    progress_of,
)

MARKDOWN, CSV, JSON, PICTURE = "compare.md", "compare.csv", "compare.json", "compare.png"


def write_reports(out: Path, rows: Sequence[Row], budget: Budget) -> None:
    """Write the three files, each whole or not at all.

    Raises:
        OSError: if the disk does not take them.
    """
    tasks = list(budget.tasks)
    every = [*columns_for(tasks), *further_columns(rows, tasks)]
    with atomic_file(out / MARKDOWN) as temporary:
        temporary.write_text(markdown(rows, budget, (out / PICTURE).is_file()), encoding="utf-8")
    with atomic_file(out / CSV) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        statistics = [f"{column.key}_{kind}" for column in every for kind in ("mean", "std")]
        about = ("recipe", "runs", "clips", "batch_size", "step_seconds", "relative_cost", "cost_reference", "note")
        writer.writerow([*about, *statistics])
        for row in rows:
            cost = ["", "", ""] if row.cost is None else [row.cost.seconds, row.cost.relative, row.cost.reference]
            numbers = [number for column in every for number in mean_and_deviation(row.values(column))]
            size = row.contestant.config.training.batch_size
            first = [row.contestant.label, len(row.runs), clips_of(row.contestant), size, *cost, row.note]
            writer.writerow(first + ["" if number is None else f"{number:.6g}" for number in numbers])
    write_json(out / JSON, as_json(rows, budget, every))


def markdown(rows: Sequence[Row], budget: Budget, has_picture: bool = False) -> str:
    """The table, what was done, and how to read it; with a link to the picture where there is one."""
    header, lines = table(rows, budget)
    cells = [[_escaped(cell) for cell in line] for line in lines]
    ruled = ["| " + " | ".join(line) + " |" for line in (header, ["---", *["---:"] * (len(header) - 1)], *cells)]
    notes = [f"- {_escaped(row.contestant.label)}: {_escaped(row.note)}" for row in rows if row.note]
    notes += [f"- {_escaped(warning)}" for warning in budget.warnings]
    sections = [
        "# Comparison",
        " ".join([*_unfinished(rows, budget), _setting(budget)]),
        "\n".join(ruled),
        "\n".join(notes),
        f"![]({PICTURE})" if has_picture else "",
        _legend(rows, budget),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def printed(rows: Sequence[Row], budget: Budget) -> str:
    """The table in aligned columns, and the notes below it."""
    header, lines = table(rows, budget)
    lines = [[printable(cell) for cell in line] for line in lines]
    widths = [max(len(line[place]) for line in (header, *lines)) for place in range(len(header))]
    text = [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(pairs)
        ).rstrip()
        for pairs in (
            list(zip(line, widths, strict=True)) for line in (header, ["-" * width for width in widths], *lines)
        )
    ]
    text += [f"{row.contestant.label}: {row.note}" for row in rows if row.note]
    text += _unfinished(rows, budget)
    return "\n".join(text)


def table(rows: Sequence[Row], budget: Budget) -> tuple[list[str], list[list[str]]]:
    """Header and lines as text: scores in per cent, measures, the cost of a step."""
    columns = columns_for(list(budget.tasks))
    header = ["recipe", *(column.title for column in columns), "cost"]
    return header, [[_named(row, budget), *(cell(row, column) for column in columns), _cost(row)] for row in rows]


def cell(row: Row, column: Column) -> str:
    """Mean ± deviation over the runs; a dash where there is nothing."""
    mean, deviation = mean_and_deviation(row.values(column))
    if mean is None:
        return "–"
    text = f"{column.scale * mean:.{column.digits}f}"
    return text if deviation is None else f"{text} ± {column.scale * deviation:.{column.digits}f}"


def _named(row: Row, budget: Budget) -> str:
    """The label, with the number of seeds where some have no scores."""
    return row.contestant.label + (f" (n = {row.scored})" if 0 < row.scored < len(budget.seeds) else "")


def _unfinished(rows: Sequence[Row], budget: Budget) -> list[str]:
    """A sentence while there are runs to come."""
    done, total = progress_of(rows, budget)
    return [] if done == total else [f"{done} of {counted(total, 'run')} are done."]


def _cost(row: Row) -> str:
    if row.cost is None:
        return "–"
    return f"{row.cost.relative:.2f}" + ("*" if row.cost.per_clip else "")


def _setting(budget: Budget) -> str:
    seen = "for its own length" if budget.clips is None else f"on {budget.clips:,} clips"
    scored = ", ".join(f"{name} ({title})" for name, title in budget.tasks.items())
    length = f"{budget.hours:.2f} hours" if budget.hours >= 0.1 else f"{3600 * budget.hours:.0f} seconds"
    return (
        f"Each recipe was trained {seen}, drawn from {budget.learned:,} (of {length} in all), "
        f"with {counted(len(budget.seeds), 'seed')} ({', '.join(map(str, budget.seeds))}), on {budget.device}. "
        f"Scored by the default protocol on {scored}: per cent, logistic regression on frozen embeddings, mean ± "
        f"standard deviation over seeds (n - 1 in the denominator). Training hears the tasks' clips too, without their "
        f"labels, where they are among its data."
    )


def _legend(rows: Sequence[Row], budget: Budget) -> str:
    lines = [
        *_precision(budget),
        f"Collapse, rank, alignment and uniformity are of two views of {budget.held_out} clips that no run learned "
        f"from. Collapse: of projections, 1 is healthy; below {COLLAPSED:g} counts as collapsed, a limit chosen "
        "between what plain BYOL shows (about 0.8) and BYOL without a predictor (below 0.2), and not one for "
        "embeddings. Rank: effective rank of embeddings. Alignment: lower is closer. Uniformity: lower is more "
        "uniform.",
        f"Cost: an optimiser step beside one of {_escaped(budget.baseline)}"
        + (
            " (or of its like with the same batch size), both bare and taken in turns."
            if len({row.cost.reference for row in rows if row.cost}) > 1
            else ", both bare and taken in turns."
        ),
    ]
    if any(row.cost and row.cost.per_clip for row in rows):
        lines.append("\\* for as many clips: the batch sizes differ.")
    return "\n".join(lines)


def _precision(budget: Budget) -> list[str]:
    """How much a score may be off because of which clips are tested on."""
    if not budget.tested:
        return []
    # 1.96 sqrt(p (1 - p) / n) at p = 1/2, where it is widest.
    clips = "; ".join(
        f"{task}: {counted(number, 'clip')}, ± {98 / math.sqrt(max(1, number)):.1f}"
        for task, number in budget.tested.items()
    )
    return [
        "Clips tested on, and about how far a 95 % interval of an accuracy of 50 % reaches there, in points (that of "
        f"others is narrower): {clips}. The deviation over seeds knows nothing of that."
    ]


def _escaped(text: str) -> str:
    return printable(text).replace("|", "\\|").replace("_", "\\_").replace("*", "\\*")
