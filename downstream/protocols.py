"""How embeddings become scores: what is fitted on which clips, and chosen on which others."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from byol_a.data.worker_pool import available_cores
from byol_a.progress import Progress
from downstream.metrics import METRICS, Score, score_folds
from downstream.probes import KNNProbe, logistic_path
from downstream.splits import hold_out
from downstream.tasks import Round, Task

Result = TypeVar("Result")

LASTING_SECONDS = 5.0  # work that took less leaves no line in a pipe or a log


@dataclass(frozen=True)
class DefaultProtocol:
    """Logistic regression with C chosen without the test clips, and k nearest neighbours.

    Attributes:
        C_grid: what C is chosen from, increasing.
        seeds: each draws another validation part, where the set has none of its own.
        valid_fraction: of the training clips, at least one group where groups are known.
        k: neighbours.
        resamples: of the bootstrap.
    """

    name: str = "default"
    C_grid: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    seeds: tuple[int, ...] = (0, 1, 2)
    valid_fraction: float = 0.1
    k: int = 10
    resamples: int = 1000


class StandardisedRows:
    """Embeddings (N, D) as a round's probes see them: mean 0 and std 1 over its clips that are not test clips.

    `rows[indices]` are standardised when asked for. Only the statistics are kept, so that threads share them
    and none holds a copy of the whole.
    """

    def __init__(self, embeddings: np.ndarray, part: Round) -> None:
        from sklearn.preprocessing import StandardScaler

        self._embeddings = embeddings
        self._scaler = StandardScaler(copy=False).fit(embeddings[part.train + part.valid])

    def __getitem__(self, indices: Sequence[int]) -> np.ndarray:
        # Indexing by a list copies, so scaling in place leaves the embeddings alone.
        return np.asarray(self._scaler.transform(self._embeddings[list(indices)]), dtype=np.float32)


@dataclass(frozen=True)
class ProbeResult:
    """What one probe did on one task.

    Attributes:
        seeds: of the validation parts drawn; empty where nothing is random.
        C: chosen, for each seed (once where there is none) and round; None for the neighbours.
        scores: for each seed and round, (N_test, C).
        targets: for each round, (N_test, C) bool.
        metrics: by name, the task's own first.
    """

    probe: str
    seeds: tuple[int, ...]
    C: tuple[tuple[float, ...], ...] | None
    scores: list[list[np.ndarray]]
    targets: list[np.ndarray]
    metrics: dict[str, Score]


def evaluate_embeddings(
    task: Task, embeddings: np.ndarray, protocol: DefaultProtocol, progress: bool | None = None
) -> list[ProbeResult]:
    """Score embeddings (N, D), one row per clip of the task: logistic regression, then neighbours.

    Embeddings are standardised on all clips of a round that are not its test clips. Test clips and their
    labels take part in nothing but the final score.
    """
    targets = one_hot(task)
    rounds = task.rounds()
    random = any(not part.valid for part in rounds)
    seeds = protocol.seeds if random else ()
    draws = seeds or (0,)  # with a validation part of the set's own, the number plays no part

    def choose(part: Round, inputs: StandardisedRows, seed: int) -> float:
        train, valid = _training_and_validation(task, part, seed, protocol.valid_fraction)
        return choose_C(task, inputs, targets, train, valid, protocol.C_grid)

    def refit(part: Round, inputs: StandardisedRows, chosen: set[float]) -> dict[float, np.ndarray]:
        fitted, tested = part.train + part.valid, inputs[part.test]
        grid = [C for C in protocol.C_grid if max(chosen) >= C]  # the way to C, as it was walked before
        path = logistic_path(inputs[fitted], targets[fitted], grid, task.multi_label)
        return {probe.C: probe.scores(tested) for probe in path if probe.C in chosen}

    def vote(part: Round, inputs: StandardisedRows) -> np.ndarray:
        fitted = part.train + part.valid
        return KNNProbe(inputs[fitted], targets[fitted], protocol.k).scores(inputs[part.test])

    inputs_of = [StandardisedRows(embeddings, part) for part in rounds]
    parts = list(zip(rounds, inputs_of, strict=True))
    found = _in_threads(choose, [(*part, seed) for seed in draws for part in parts], "choosing C", progress)
    chosen = [tuple(found[start : start + len(rounds)]) for start in range(0, len(found), len(rounds))]
    by_round = [set(of_seeds) for of_seeds in zip(*chosen, strict=True)]
    fits = _in_threads(refit, list(zip(rounds, inputs_of, by_round, strict=True)), "fitting", progress)
    votes = _in_threads(vote, parts, "neighbours", progress)
    logits = [[fit[C] for fit, C in zip(fits, of_seed, strict=True)] for of_seed in chosen]
    of_rounds = [targets[part.test] for part in rounds]

    def result(
        probe: str,
        seeds: tuple[int, ...],
        C: tuple[tuple[float, ...], ...] | None,
        scores: list[list[np.ndarray]],
    ) -> ProbeResult:
        metrics = {
            name: score_folds(METRICS[name], scores, of_rounds, task.classes, protocol.resamples)
            for name in task.metrics
        }
        return ProbeResult(probe, seeds, C, scores, of_rounds, metrics)

    return [
        result("logistic", seeds, tuple(chosen), logits),
        result(f"knn{protocol.k}", (), None, [votes]),
    ]


def one_hot(task: Task) -> np.ndarray:
    """Targets (N, C) bool of the task's clips."""
    place = {name: column for column, name in enumerate(task.classes)}
    targets = np.zeros((len(task.clips), len(task.classes)), dtype=bool)
    for row, clip in enumerate(task.clips):
        targets[row, [place[label] for label in clip.labels]] = True
    return targets


def choose_C(
    task: Task,
    inputs: StandardisedRows,
    targets: np.ndarray,
    train: Sequence[int],
    valid: Sequence[int],
    grid: Sequence[float],
) -> float:
    """The C whose fit on `train` does best on `valid` by the task's own metric; likelihood breaks ties."""
    metric, once = METRICS[task.metrics[0]], np.ones((1, len(valid)))
    ranked = []
    for probe in logistic_path(inputs[train], targets[train], grid, task.multi_label):
        scores = probe.scores(inputs[valid])
        value = metric(scores, targets[valid], task.classes, once)[0]
        ranked.append((np.nan_to_num(value), _log_likelihood(scores, targets[valid], task.multi_label), probe.C))
    return max(ranked)[-1]


def _training_and_validation(task: Task, part: Round, seed: int, fraction: float) -> tuple[list[int], list[int]]:
    """The clips to try each C on: the set's own parts, or a share of the training part held out."""
    if part.valid:
        return part.train, part.valid
    labels = None if task.multi_label else [task.clips[index].labels[0] for index in part.train]
    groups = [task.clips[index].group for index in part.train]
    train, valid = hold_out(labels, groups, fraction, seed)
    return [part.train[index] for index in train], [part.train[index] for index in valid]


def _log_likelihood(scores: np.ndarray, targets: np.ndarray, multi_label: bool) -> float:
    """Mean log-probability of the targets."""
    scores = scores.astype(np.float64)
    if multi_label:
        return float(-np.logaddexp(0, np.where(targets, -scores, scores)).mean())
    log_normaliser = np.logaddexp.reduce(scores, axis=1)
    return float((scores[targets] - log_normaliser).mean())


def _in_threads(
    function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], doing: str, progress: bool | None
) -> list[Result]:
    """Do the jobs on all cores, one each where there are enough: BLAS's products here are thin to share."""
    from joblib import Parallel, delayed
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    cores = available_cores()
    n_jobs = min(cores, len(jobs))
    results: list[Result] = []
    began = time.monotonic()
    with (
        threadpool_limits(max(1, cores // n_jobs)),
        warnings.catch_warnings(),
        Progress(doing, len(jobs), "fit", progress) as bar,
    ):
        # In float32 a line search can end a little above the tolerance; the scores are the same.
        warnings.simplefilter("ignore", ConvergenceWarning)
        parallel = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
        for result in parallel(delayed(function)(*job) for job in jobs):
            results.append(result)
            bar.advance()
        if time.monotonic() - began < LASTING_SECONDS:
            bar.enabled = False  # no closing line; a bar in a terminal stays as it is
    return results
