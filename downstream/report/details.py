"""What stands behind one score: confusions, scores by class, calibration, and the clips that are hardest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from downstream.metrics import BINS, average_precisions, bins_of, roc_areas, sigmoid, softmax
from downstream.results import Cell, Predictions

HARDEST = 12
TOP = 3  # predictions shown for a clip
MOST_CONFUSIONS = 3000  # kinds of errors kept for a matrix, the most frequent ones
_BLOCK = 2_000_000  # probabilities at once


@dataclass(frozen=True)
class HardClip:
    """A test clip that a probe gets most wrong.

    Attributes:
        row: in the cell's predictions.
        truth: its labels, as indices of classes.
        top: the classes given the highest probability, with that probability.
        loss: cross entropy, mean over seeds (and labels, where there may be several).
    """

    row: int
    truth: list[int]
    top: list[tuple[int, float]]
    loss: float


def details_of(cell: Cell, index: int) -> tuple[dict[str, Any], list[HardClip]]:
    """The details of one of a cell's results as JSON, and its hardest clips.

    Counts are means over seeds. The JSON holds `clips`, `seeds`, `calibration` [[clips, mean probability, share
    that is so], ...] of 15 bins (null where empty), `classes` {support, and lists by class: for single labels
    predicted, precision, recall, f1; for several ap and auc}, and for single labels `confusion`
    [[true, predicted, count], ...], the most frequent first.
    """
    predictions, multi_label = cell.predictions, bool(cell.about["task"]["multi_label"])
    scores = predictions.scores[index]
    rows = np.flatnonzero(~np.isnan(scores[0]).any(axis=1))
    targets = predictions.targets[rows]
    losses, mean = np.zeros(len(rows)), np.zeros(targets.shape, dtype=np.float32)
    bins, counts = np.zeros((3, BINS)), np.zeros((targets.shape[1],) * 2 if not multi_label else (0, 0))
    for seed, block in _blocks(scores, len(rows)):
        logits = scores[seed][rows[block]].astype(np.float32)
        probabilities = sigmoid(logits) if multi_label else softmax(logits)
        wanted = targets[block]
        mean[block] += (probabilities / len(scores)).astype(np.float32)
        losses[block] += _losses(probabilities, wanted, multi_label) / len(scores)
        if multi_label:
            _tally(bins, probabilities.ravel(), wanted.ravel())
        else:
            guesses = probabilities.argmax(axis=1)
            places = np.arange(len(guesses))
            _tally(bins, probabilities[places, guesses], wanted[places, guesses])
            np.add.at(counts, (wanted.argmax(axis=1), guesses), 1 / len(scores))
    found: dict[str, Any] = {
        "clips": len(rows),
        "seeds": len(scores),
        "calibration": _calibration(bins, len(scores)),
    }
    if multi_label:
        found["classes"] = _ranking_by_class(scores[:, rows], targets)
    else:
        found["classes"] = _counts_by_class(counts)
        found["confusion"] = _confusions(counts)
    return found, _hardest(predictions, rows, targets, losses, mean)


def _blocks(scores: np.ndarray, n_rows: int) -> Iterator[tuple[int, slice]]:
    step = max(1, _BLOCK // max(1, scores.shape[2]))
    for seed in range(len(scores)):
        for start in range(0, n_rows, step):
            yield seed, slice(start, min(start + step, n_rows))


def _losses(probabilities: np.ndarray, targets: np.ndarray, multi_label: bool) -> np.ndarray:
    """Cross entropy (M,), of several labels the mean over classes."""
    likely = np.where(targets, probabilities, 1 - probabilities) if multi_label else probabilities
    logs = -np.log(np.maximum(likely, 1e-12))
    return np.asarray(logs.mean(axis=1) if multi_label else (logs * targets).sum(axis=1))


def _tally(bins: np.ndarray, probabilities: np.ndarray, outcomes: np.ndarray) -> None:
    """Add to each bin's count, sum of probabilities and number that came true."""
    places = bins_of(probabilities)
    for row, weights in enumerate((None, probabilities, outcomes.astype(float))):
        bins[row] += np.bincount(places, weights, minlength=BINS)


def _calibration(bins: np.ndarray, n_seeds: int) -> list[list[float] | None]:
    return [
        [_round(count / n_seeds), _round(total / count), _round(true / count)] if count else None
        for count, total, true in bins.T
    ]


def _counts_by_class(counts: np.ndarray) -> dict[str, list[Any]]:
    """Precision, recall and F1 of a confusion matrix; None where there is nothing to divide by."""
    support, predicted, hits = counts.sum(axis=1), counts.sum(axis=0), np.diag(counts)

    def share(part: np.ndarray, whole: np.ndarray) -> list[float | None]:
        return [_round(p / w) if w else None for p, w in zip(part, whole, strict=True)]

    return {
        "support": np.rint(support).astype(int).tolist(),
        "predicted": [_round(value) for value in predicted],
        "precision": share(hits, predicted),
        "recall": share(hits, support),
        "f1": share(2 * hits, support + predicted),
    }


def _ranking_by_class(scores: np.ndarray, targets: np.ndarray) -> dict[str, list[Any]]:
    once = np.ones((1, len(targets)))
    precisions = np.mean(
        [average_precisions(of_seed.astype(np.float32), targets, once)[0] for of_seed in scores], axis=0
    )
    areas = np.mean([roc_areas(of_seed.astype(np.float32), targets, once)[0] for of_seed in scores], axis=0)
    return {
        "support": targets.sum(axis=0).tolist(),
        "ap": [None if value != value else _round(value) for value in precisions],
        "auc": [None if value != value else _round(value) for value in areas],
    }


def _confusions(counts: np.ndarray) -> list[list[float]]:
    """[true, predicted, count] of every correct kind and the most frequent errors."""
    errors = counts.copy()
    np.fill_diagonal(errors, 0)
    true, predicted = np.nonzero(errors)
    order = np.argsort(-errors[true, predicted], kind="stable")[:MOST_CONFUSIONS]
    found = [[int(i), int(j), _round(errors[i, j])] for i, j in zip(true[order], predicted[order], strict=True)]
    return found + [[int(i), int(i), _round(counts[i, i])] for i in np.flatnonzero(np.diag(counts))]


def _hardest(
    predictions: Predictions, rows: np.ndarray, targets: np.ndarray, losses: np.ndarray, mean: np.ndarray
) -> list[HardClip]:
    """The clips with the highest loss, each file (or section of one) once."""
    found: dict[tuple[Any, ...], HardClip] = {}
    for place in np.argsort(-losses, kind="stable"):
        if len(found) == HARDEST:
            break
        row = int(rows[place])
        name = (str(predictions.paths[row]), *np.nan_to_num(predictions.sections[row], nan=-1).tolist())
        probabilities = mean[place]
        best = np.argsort(-probabilities, kind="stable")[:TOP]
        top = [(int(column), round(float(probabilities[column]), 3)) for column in best]
        clip = HardClip(row, np.flatnonzero(targets[place]).tolist(), top, round(float(losses[place]), 3))
        found.setdefault(name, clip)
    return list(found.values())


def _round(value: float) -> float:
    """Four digits behind the point, whole numbers as such, to keep the report small."""
    rounded = round(float(value), 4)
    return int(rounded) if rounded == int(rounded) else rounded
