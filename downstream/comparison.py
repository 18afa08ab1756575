"""Is one model better than another, or are they just different? The report's comparisons, said in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import click

from byol_a.words import counted, printable
from downstream.cells import predictions_of
from downstream.evaluate import Outcome
from downstream.report.board import SIGNIFICANT
from downstream.report.comparisons import Comparison, compare_all
from downstream.report.study import arrange
from downstream.report.wording import metric_title, p_value, scale, signed
from downstream.results import Cell, Predictions, finite


@dataclass(frozen=True)
class OutcomeCell(Cell):
    """An outcome as the cell that it would be on disk."""

    outcome: Outcome

    @cached_property
    def predictions(self) -> Predictions:
        """Made at first use."""
        return predictions_of(self.outcome)


def print_comparisons(outcomes: Sequence[Outcome], progress: bool | None = None) -> None:
    """A line for each comparison of models that `compare_all` makes, on standard output."""
    study = arrange([OutcomeCell(Path(outcome.entrant.title), finite(outcome.about), outcome) for outcome in outcomes])
    metrics = {task.slug: task.metric for task in study.tasks}
    for (slug, _, probe), compared in compare_all(study, progress).items():
        for made in compared:
            click.echo(
                printable(f"{made.first.label} against {made.second.label}, {probe}: {_finding(made, metrics[slug])}")
            )


def _finding(made: Comparison, metric: str) -> str:
    paired = made.paired
    left_out = f"; {counted(paired.left_out, 'clip')} that not all of them tested left out" if paired.left_out else ""
    if math.isnan(paired.p_value):
        return f"{metric_title(metric)}: no clip can tell{left_out}"
    verdict = "significant" if made.p_adjusted < SIGNIFICANT else "not significant"
    unit = " points" if scale(metric) == 100 else ""
    p = p_value(made.p_adjusted)
    return (
        f"{metric_title(metric)} {signed(metric, paired.difference)}{unit} [{signed(metric, paired.low)}, "
        f"{signed(metric, paired.high)}], p {p if p.startswith('<') else f'= {p}'} ({paired.test}, Holm): "
        f"{verdict}{left_out}"
    )
