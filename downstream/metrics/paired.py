"""Whether two models differ: both scored on the same clips, so that hard clips are hard for both."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from byol_a.errors import UsageError
from downstream.metrics.bootstrap import interval, plain_scores, resampled_scores
from downstream.metrics.catalogue import METRICS
from downstream.metrics.classification import accuracy
from downstream.metrics.significance import mcnemar_test, permutation_test
from downstream.metrics.weighing import Metric, mean_known

if TYPE_CHECKING:
    from downstream.results import Cell, Predictions

MCNEMAR, PERMUTATION = "exact McNemar test", "paired permutation test"


@dataclass(frozen=True)
class Paired:
    """The first model's score less the second's.

    Attributes:
        difference: on the metric's own scale; NaN where no clip can tell.
        low: of its 95 % interval over test clips.
        high: of the same.
        p_value: two-sided, of no difference.
        test: which one the p-value is of.
        clips: how many both models were tested on; one that several rounds test counts in each.
        left_out: how many others one of them was tested on.
    """

    difference: float
    low: float
    high: float
    p_value: float
    test: str
    clips: int
    left_out: int = 0


def compare(
    metric: Metric,
    scores_a: Sequence[Sequence[np.ndarray]],
    scores_b: Sequence[Sequence[np.ndarray]],
    targets: Sequence[np.ndarray],
    classes: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
) -> Paired:
    """The difference between two models' scores, as `score_folds` computes them, and how sure it is.

    The interval is of a bootstrap that draws the same clips for both. The p-value is McNemar's where the metric
    is accuracy, each model has one seed and all folds are of one size, so that the difference is that of all
    clips together; else it is a permutation test's.

    Args:
        scores_a: for each seed and fold, (N_fold, C).
        scores_b: the same of the other model; it may have another number of seeds.
        targets: for each fold, (N_fold, C) bool.
        resamples: of the bootstrap, and permutations: p-values of these are 1 / (resamples + 1) or more.
    """
    both = (scores_a, scores_b)
    plain_a, plain_b = (plain_scores(metric, scores, targets, classes).mean(axis=0) for scores in both)
    drawn_a, drawn_b = (resampled_scores(metric, scores, targets, classes, resamples, seed) for scores in both)
    difference = float(mean_known(plain_a - plain_b))
    low, high = interval(mean_known(drawn_a - drawn_b), around=difference)
    if metric is accuracy and len(scores_a) == len(scores_b) == 1 and len(set(map(len, targets))) == 1:
        test, p_value = MCNEMAR, mcnemar_test(scores_a[0], scores_b[0], targets)
    else:
        test = PERMUTATION
        p_value = permutation_test(metric, scores_a, scores_b, targets, classes, resamples, seed)
    return Paired(difference, low, high, p_value, test, clips=sum(map(len, targets)))


def compare_cells(
    a: Sequence[Cell], b: Sequence[Cell], metric: str | None = None, resamples: int = 1000, seed: int = 0
) -> Paired:
    """`compare` by the main results of two models' evaluations of a task, on the clips that all of them tested.

    Args:
        a: the first model's, as read from disk; the draws of a random network count as seeds of one model.
        b: the second model's, likewise.
        metric: its name; the task's own if None.

    Raises:
        UsageError: if they are not of the same task and classes, or share no test clips.
    """
    first, cells = a[0], (*a, *b)
    classes: list[str] = first.about["task"]["classes"]
    for other in cells[1:]:
        _check_same_task(first, other)
    tested = [_tested(cell.predictions) for cell in cells]
    shared = [key for key in tested[0] if all(key in of_cell for of_cell in tested[1:])]
    if not shared:
        raise UsageError(
            f"{first.folder} and {b[0].folder} share no test clips; evaluate both on the same copy of {_name(first)}"
        )
    rows = np.asarray([tested[0][key] for key in shared])
    targets, rounds = first.predictions.targets[rows], first.predictions.rounds[rows]
    folds = [np.flatnonzero(rounds == name) for name in np.unique(rounds)]
    scores: list[list[list[np.ndarray]]] = [[], []]
    for number, (cell, of_cell) in enumerate(zip(cells, tested, strict=True)):
        rows = np.asarray([of_cell[key] for key in shared])
        columns = [cell.about["task"]["classes"].index(name) for name in classes]
        if (cell.predictions.targets[rows][:, columns] != targets).any():
            raise UsageError(
                f"{first.folder} and {cell.folder} give the same clips different labels; evaluate both once more"
            )
        for of_seed in cell.predictions.scores[0]:
            ordered = of_seed[rows][:, columns].astype(np.float32)
            scores[number >= len(a)].append([ordered[fold] for fold in folds])
    found = compare(
        METRICS[metric or first.about["task"]["metrics"][0]],
        scores[0],
        scores[1],
        [targets[fold] for fold in folds],
        classes,
        resamples,
        seed,
    )
    return replace(found, left_out=len(set().union(*tested)) - len(shared))


def _check_same_task(a: Cell, b: Cell) -> None:
    if _name(a) != _name(b):
        raise UsageError(f"{a.folder} is of {_name(a)} and {b.folder} of {_name(b)}: only scores of one task compare")
    if sorted(a.about["task"]["classes"]) != sorted(b.about["task"]["classes"]):
        raise UsageError(
            f"{a.folder} and {b.folder} tell different classes apart; evaluate both on the same copy of {_name(a)}"
        )


def _name(cell: Cell) -> str:
    return f"{cell.about['task']['name']}, {cell.about['task']['label']}"


def _tested(predictions: Predictions) -> dict[Hashable, int]:
    """The rows of the clips that the main result tested, by round, file, section, and which time it is they come."""
    tested = ~np.isnan(predictions.scores[0]).any(axis=(0, 2))
    times: Counter[Hashable] = Counter()
    rows: dict[Hashable, int] = {}
    for row in np.flatnonzero(tested).tolist():
        section = tuple(None if math.isnan(end) else end for end in predictions.sections[row].tolist())
        clip = (predictions.rounds[row].item(), str(predictions.paths[row]), section)
        rows[(clip, times[clip])] = row
        times[clip] += 1
    return rows
