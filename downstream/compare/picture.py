"""A comparison as a picture: a panel for each score and measure, a line for each recipe."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from byol_a.files import atomic_file
from byol_a.words import counted
from downstream.compare.summary import Budget, Column, Row, columns_for, mean_and_deviation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL, LINE, MARGIN = 2.1, 0.27, 1.1  # inches
LONGEST_LABEL = 48
CAPTION = 8  # points; a letter of that size is about 1 / 15 inch wide
CENTRED = {"ha": "center", "va": "center", "fontsize": 9}


def draw_comparison(path: Path, rows: Sequence[Row], budget: Budget) -> None:
    """Draw every run as a stroke, means with deviations as dots, into a PNG.

    A line down each panel marks the baseline's mean; controls are hollow. A caption says so, and what was done.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = [column for column in columns_for(list(budget.tasks)) if column.key != "alignment"]
    labels = [_short(row.contestant.label) for row in rows]
    width = MARGIN + 0.075 * max(map(len, labels)) + PANEL * len(columns)
    caption = textwrap.fill(_caption(budget), int(15 * width))
    height = MARGIN + LINE * (len(rows) + 1) + CAPTION / 50 * (caption.count("\n") + 1)
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    baseline = next((row for row in rows if row.contestant.label == budget.baseline), None)
    for axes, column in zip(panels, columns, strict=True):
        _draw(axes, rows, column, baseline)
    for place, row in enumerate(rows):
        if row.note and not row.has_worked:
            words = row.note.partition(" (")[0]
            panels[0].text(0.5, place, words, transform=panels[0].get_yaxis_transform(), color="tab:red", **CENTRED)
    panels[0].set_yticks(range(len(rows)), labels, parse_math=False)
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    figure.supxlabel(caption, fontsize=CAPTION, parse_math=False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _draw(axes: Axes, rows: Sequence[Row], column: Column, baseline: Row | None) -> None:
    for place in range(0, len(rows), 2):
        axes.axhspan(place - 0.5, place + 0.5, color="0.96", linewidth=0)
    if baseline is not None and (level := mean_and_deviation(baseline.values(column))[0]) is not None:
        axes.axvline(column.scale * level, color="0.6", linewidth=0.9, linestyle="--", zorder=1)
    for place, row in enumerate(rows):
        values = [column.scale * value for value in row.values(column)]
        mean, deviation = mean_and_deviation(values)
        if mean is None:
            continue
        colour = "0.45" if row.contestant.control else "tab:red" if row.note else "tab:blue"
        axes.errorbar(
            mean, place, xerr=deviation, fmt="o", markersize=5.5, color=colour, elinewidth=1.4, zorder=3,
            markerfacecolor="white" if row.contestant.control else colour,
        )  # fmt: skip
        axes.plot(values, [place] * len(values), "|", markersize=7, color=colour, alpha=0.5, zorder=2)
    axes.set_title(column.title + (", %" if column.scale == 100 else ""), fontsize=10)
    if column.key == "collapse":
        axes.set_xlim(-0.05, 1.1)
    else:
        _at_least_a_hundredth(axes)
    axes.locator_params(axis="x", nbins=4)
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.grid(axis="x", alpha=0.3)
    axes.tick_params(left=False, labelsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _at_least_a_hundredth(axes: Axes) -> None:
    """Widen a panel that spans less than 2 % of its values: differences as small as rounding are none to look at."""
    low, high = axes.get_xlim()
    middle = (low + high) / 2
    half = max((high - low) / 2, abs(middle) / 100, 1e-6)
    axes.set_xlim(middle - half, middle + half)


def _caption(budget: Budget) -> str:
    seen = "its own length" if budget.clips is None else f"{budget.clips:,} clips"
    return (
        f"Each recipe: {seen}, {counted(len(budget.seeds), 'seed')}, drawn from {budget.learned:,} clips, on "
        f"{budget.device}. Dots: means; bars: standard deviations over seeds (n - 1); strokes: runs. Hollow grey: "
        f"untrained networks; red: some run diverged, collapsed or failed; dashed: the mean of {budget.baseline}."
    )


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"
