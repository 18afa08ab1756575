"""What came out: for each contestant and column a mean and a deviation over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from byol_a.config import to_dict
from byol_a.words import counted
from downstream.compare.contestants import Contestant
from downstream.compare.plan import Cost
from downstream.compare.runs import RunRecord
from downstream.compare.scoring import TaskScore
from downstream.results import finite


@dataclass(frozen=True)
class SeedResult:
    """A run and its scores by task; `failure` says why there are none, or why some are missing."""

    record: RunRecord | None = None
    scores: dict[str, TaskScore] = field(default_factory=dict)
    failure: str = ""

    def is_over(self, tasks: Collection[str]) -> bool:
        """Whether nothing is left to do: it is scored on all of the tasks, diverged, or failed."""
        diverged = self.record is not None and self.record.outcome == "diverged"
        return bool(self.failure) or diverged or all(task in self.scores for task in tasks)


@dataclass(frozen=True)
class Column:
    """A number that each run has.

    Attributes:
        key: in CSV files.
        title: in tables and pictures.
        scale, digits: how it is shown.
        value: of a run; None where it has none.
    """

    key: str
    title: str
    scale: float
    digits: int
    value: Callable[[SeedResult], float | None]


@dataclass
class Row:
    """A contestant and its runs so far, by seed."""

    contestant: Contestant
    cost: Cost | None
    runs: dict[int, SeedResult] = field(default_factory=dict)

    def values(self, column: Column) -> list[float]:
        """Of the seeds that have one, and a finite one."""
        found = (column.value(run) for run in self.runs.values())
        return [value for value in found if value is not None and math.isfinite(value)]

    @property
    def has_worked(self) -> bool:
        """Whether any run gave a model with scores."""
        return self.scored > 0

    @property
    def scored(self) -> int:
        """How many runs have scores."""
        return sum(bool(run.scores) for run in self.runs.values())

    @property
    def note(self) -> str:
        """What is to be said about the runs; empty if all is well."""
        notes = []
        diverged = [run.record.words for run in self.runs.values() if run.record and run.record.outcome == "diverged"]
        measured = [run.record.measures for run in self.runs.values() if run.record and run.record.measures]
        collapsed = sum(measures.is_collapsed for measures in measured)
        failures = [run.failure for run in self.runs.values() if run.failure]
        for number, what in ((len(diverged), "diverged"), (collapsed, "collapsed"), (len(failures), "failed")):
            if number:
                notes.append(
                    what if number == len(self.runs) else f"{number} of {counted(len(self.runs), 'run')} {what}"
                )
        said = [*diverged[:1], *failures[:1]]
        return ", ".join(notes) + (f" ({'; '.join(said)})" if said else "")


@dataclass(frozen=True)
class Budget:
    """What all rows share, for tables and pictures.

    Attributes:
        clips: that each recipe was to see; None for each one's own length.
        held_out: clips that measures are of.
        hours: of all the sound that was packed.
        tasks: names and titles of what was scored.
        baseline: the label of what costs are relative to.
        tested: names of tasks, and how many clips each tests on.
        warnings: what a reader of the tasks' scores must know.
    """

    clips: int | None
    seeds: tuple[int, ...]
    learned: int
    held_out: int
    hours: float
    tasks: dict[str, str]
    baseline: str
    device: str
    tested: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def progress_of(rows: Sequence[Row], budget: Budget) -> tuple[int, int]:
    """How many runs are over, and how many there are to be."""
    over = sum(run.is_over(budget.tasks) for row in rows for seed, run in row.runs.items() if seed in budget.seeds)
    return over, len(rows) * len(budget.seeds)


def columns_for(tasks: Sequence[str]) -> list[Column]:
    """What is shown: a score for each task and their mean, then the measures."""

    def score(task: str) -> Callable[[SeedResult], float | None]:
        return lambda run: run.scores[task].value if task in run.scores else None

    def mean(run: SeedResult) -> float | None:
        values = [run.scores[task].value if task in run.scores else None for task in tasks]
        known = [value for value in values if value is not None]
        return statistics.fmean(known) if known and len(known) == len(tasks) else None

    def measured(name: str) -> Callable[[SeedResult], float | None]:
        return lambda run: getattr(run.record.measures, name) if run.record and run.record.measures else None

    scores = [Column(task, task, 100.0, 1, score(task)) for task in tasks]
    if len(tasks) > 1:
        scores.append(Column("mean", "mean", 100.0, 1, mean))
    return [
        *scores,
        Column("collapse", "collapse", 1.0, 3, measured("collapse")),
        Column("effective_rank", "rank", 1.0, 1, measured("effective_rank")),
        Column("alignment", "alignment", 1.0, 3, measured("alignment")),
        Column("uniformity", "uniformity", 1.0, 2, measured("uniformity")),
    ]


def further_columns(rows: Sequence[Row], tasks: Sequence[str]) -> list[Column]:
    """What CSV and JSON have besides: every metric of the logistic regression (ECE among them), and neighbours."""

    def logistic(task: str, metric: str) -> Callable[[SeedResult], float | None]:
        return lambda run: run.scores[task].logistic.get(metric) if task in run.scores else None

    def neighbours(task: str) -> Callable[[SeedResult], float | None]:
        return lambda run: run.scores[task].neighbours if task in run.scores else None

    found = []
    for task in tasks:
        scores = [run.scores[task] for row in rows for run in row.runs.values() if task in run.scores]
        metrics = list(scores[0].logistic) if scores else []
        found += [Column(f"{task}_{name}", name, 1.0, 4, logistic(task, name)) for name in metrics]
        found.append(Column(f"{task}_neighbours", "neighbours", 1.0, 4, neighbours(task)))
    return found


def mean_and_deviation(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean, None without values; deviation (n - 1 in the denominator), None for fewer than two."""
    if not values:
        return None, None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def as_json(rows: Sequence[Row], budget: Budget, columns: Sequence[Column]) -> dict[str, Any]:
    """Everything, each run by itself too; None where a number is not finite."""
    values: dict[str, Any] = {
        "budget": vars(budget) | {"seeds": list(budget.seeds)},
        "runs_done": progress_of(rows, budget)[0],
        "rows": [
            {
                "label": row.contestant.label,
                "recipe": row.contestant.recipe,
                "control": row.contestant.control,
                "note": row.note,
                "clips": clips_of(row.contestant),
                "cost": None if row.cost is None else vars(row.cost),
                "columns": {
                    column.key: dict(zip(("mean", "std"), mean_and_deviation(row.values(column)), strict=True))
                    for column in columns
                },
                "runs": {
                    str(seed): {
                        "outcome": run.record.outcome if run.record and not run.failure else "failed",
                        "words": run.failure or (run.record.words if run.record else ""),
                        "seconds": run.record.seconds if run.record else None,
                        **{column.key: column.value(run) for column in columns},
                    }
                    for seed, run in row.runs.items()
                },
                "config": to_dict(row.contestant.config),
            }
            for row in rows
        ],
    }
    finite_values: dict[str, Any] = finite(values)
    return finite_values


def clips_of(contestant: Contestant) -> int | None:
    """Clips that a run sees; None where only the length of the data tells."""
    training = contestant.config.training
    if contestant.control:
        return 0
    return None if training.steps is None else training.steps * training.batch_size
