"""L2-regularised logistic regression for a grid of C and several choices of training clips, fitted at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from downstream.probes.eigenbasis import Eigenbasis
from downstream.probes.lbfgs import Fits, minimise
from downstream.probes.likelihood import Likelihood, Sigmoid, Softmax
from downstream.probes.rows import as_rows
from downstream.probes.threads import one_thread

# Score of a class that no training clip has (and, negated, of one that all have): no evidence reaches it.
NEVER = -1e4
TOLERANCE = 1e-4  # of the weights, as `minimise` measures it
BUDGET = 2**28  # numbers that the fits made at once may keep
COLUMNS = 128  # that products with the inputs should have to run at speed; beyond, a warm start saves more
KEPT = (4, 18)  # arrays of the size of a fit's logits, and of its weights, that are kept meanwhile
ALONE = 2**18  # elements of the inputs, seen in their span, up to which a second thread does not help
SHARED = 0.5  # jobs are fitted together where they use this share of their clips on average

Job = tuple[Sequence[int] | np.ndarray, Sequence[float]]


@dataclass(frozen=True)
class LinearProbe:
    """A fitted linear classifier: `weights` (D, C) and `bias` (C,), float32."""

    C: float
    weights: np.ndarray
    bias: np.ndarray

    def scores(self, inputs: np.ndarray) -> np.ndarray:
        """Logits (n, C), float32, of inputs (n, D)."""
        return np.asarray(inputs, dtype=np.float32) @ self.weights + self.bias


def logistic_path(
    inputs: np.ndarray | Tensor,
    targets: np.ndarray,
    grid: Sequence[float],
    multi_label: bool = False,
    device: str = "cpu",
    tolerance: float = TOLERANCE,
) -> list[LinearProbe]:
    """Fit for every C of `grid`, in its order: the minimum of C * sum of losses + |w|^2 / 2, bias not penalised.

    It is scikit-learn's `LogisticRegression`, of two classes too, where that fits one column of weights.

    Args:
        inputs: (N, D) float32, best standardised.
        targets: (N, C) bool; one True a row unless `multi_label`.
        grid: inverse regularisation strengths, positive.
        multi_label: one binary regression per class instead of one multinomial.
        device: where it is fitted.
        tolerance: how far from the minimum the weights may be, relative to their length.
    """
    (path,) = logistic_fits(inputs, targets, [(range(len(targets)), grid)], multi_label, device, tolerance)
    return path


def logistic_fits(
    inputs: np.ndarray | Tensor,
    targets: np.ndarray,
    jobs: Sequence[Job],
    multi_label: bool = False,
    device: str = "cpu",
    tolerance: float = TOLERANCE,
) -> list[list[LinearProbe]]:
    """`logistic_path` for each job, (indices of training clips, grid), sharing the work on the inputs.

    Every product with the inputs serves all jobs and all C, and so does their Gram matrix; a job counts the
    clips it leaves out as nothing. Jobs with little in common are fitted one after the other.
    """
    chosen = [np.asarray(train, dtype=np.int64) for train, _ in jobs]
    used = np.unique(np.concatenate(chosen))
    if len(jobs) > 1 and sum(map(len, chosen)) < SHARED * len(jobs) * len(used):
        fit = partial(logistic_fits, inputs, targets, multi_label=multi_label, device=device, tolerance=tolerance)
        return [path for job in jobs for path in fit([job])]
    mask = np.stack([np.isin(used, train) for train in chosen])
    setup = _one_vs_rest if multi_label else _multinomial
    with one_thread(len(used) * min(inputs.shape) <= ALONE):
        basis = Eigenbasis(as_rows(inputs, used, device))
        return setup(basis, targets[used], mask, [grid for _, grid in jobs], tolerance)


def _multinomial(
    basis: Eigenbasis, targets: np.ndarray, mask: np.ndarray, grids: Sequence[Sequence[float]], tolerance: float
) -> list[list[LinearProbe]]:
    """Fits of K = C columns, one a job and C."""
    counts = mask.astype(np.int64) @ targets
    bias = np.log(np.maximum(counts, 1) / counts.sum(axis=1, keepdims=True))
    labels = basis.tensor(targets.argmax(axis=1), torch.int64)
    likelihood = Softmax(labels, None if mask.all() else basis.tensor(mask))
    # Of two classes scikit-learn penalises the difference of their weights, which costs twice what both cost.
    share = np.where((counts > 0).sum(axis=1) == 2, 0.5, 1.0)
    found = _fit(
        basis,
        likelihood,
        np.where(counts > 0, bias, NEVER),
        [(job, share[job] * C) for job, grid in enumerate(grids) for C in grid],
        tolerance,
    )
    return [[LinearProbe(C, *next(found)) for C in grid] for grid in grids]


def _one_vs_rest(
    basis: Eigenbasis, targets: np.ndarray, mask: np.ndarray, grids: Sequence[Sequence[float]], tolerance: float
) -> list[list[LinearProbe]]:
    """Fits of one column, one a job, class and C; none of a class that no clip or every clip has."""
    counts, sizes = mask.astype(np.int64) @ targets, mask.sum(axis=1, keepdims=True)
    learnt = (counts > 0) & (counts < sizes)
    units = np.argwhere(learnt)  # job, class
    rates = counts[learnt] / np.broadcast_to(sizes, counts.shape)[learnt]
    signs = mask[units[:, 0]] * np.where(targets.T[units[:, 1]], 1, -1)
    found = _fit(
        basis,
        Sigmoid(basis.tensor(signs)),
        np.log(rates / (1 - rates))[:, None],
        [(unit, C) for unit, (job, _) in enumerate(units) for C in grids[job]],
        tolerance,
    )
    paths = [
        [
            LinearProbe(
                C, np.zeros((basis.dim, len(row)), np.float32), np.where(row == size, -NEVER, NEVER).astype("f")
            )
            for C in grid
        ]
        for grid, row, (size,) in zip(grids, counts, sizes, strict=True)
    ]
    for job, column in units:
        for probe in paths[job]:
            weights, bias = next(found)
            probe.weights[:, column], probe.bias[column] = weights[:, 0], bias[0]
    return paths


def _fit(
    basis: Eigenbasis, likelihood: Likelihood, bias: np.ndarray, fits: list[tuple[int, float]], tolerance: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Weights (D, K) and bias (K,) of each fit: a row of the likelihood, which starts at `bias` (., K), and a C.

    By increasing C, as many at once as matrix products like and memory allows; the later start from where
    the earlier ended.
    """
    n_rows, n_columns = bias.shape
    numbers = n_columns * (KEPT[0] * basis.n_clips + KEPT[1] * basis.rank)
    order = sorted(range(len(fits)), key=lambda place: fits[place][1])
    latest = Fits(basis.tensor(np.zeros((n_rows, n_columns, basis.rank))), basis.tensor(bias))
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    at_once = max(1, min(BUDGET // numbers, max(n_rows, COLUMNS // n_columns)))
    for places in batches(order, at_once):
        rows = [fits[place][0] for place in places]
        strengths = basis.tensor([fits[place][1] for place in places])
        index = basis.tensor(rows, torch.int64)
        ended = minimise(basis, likelihood.only(index), strengths, latest[index], tolerance)
        weights, offsets = basis.weights(ended.coordinates, ended.bias)
        for place, of_fit, offset in zip(places, weights.float().cpu(), offsets.float().cpu(), strict=True):
            found[place] = of_fit.T.numpy(), offset.numpy()
        last = {row: position for position, row in enumerate(rows)}  # of the largest C
        latest.coordinates[list(last)] = ended.coordinates[list(last.values())]
        latest.bias[list(last)] = ended.bias[list(last.values())]
    return iter([found[place] for place in range(len(fits))])


def batches(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """`items`, `size` at a time."""
    for first in range(0, len(items), size):
        yield items[first : first + size]
