"""Embeddings as a round's probes see them, and the clips that choices are made on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from byol_a.errors import ByolaError
from downstream.splits import hold_out, mostly_unseen
from downstream.tasks.base import Round, Task


class StandardisedRows:
    """Embeddings (N, D) with mean 0 and std 1 over the clips `fitted_on`.

    `rows[indices]` are standardised when asked for: only the statistics are kept, and the embeddings may be a
    file mapped into memory.
    """

    def __init__(self, embeddings: np.ndarray, fitted_on: Sequence[int]) -> None:
        from sklearn.preprocessing import StandardScaler

        self._embeddings = embeddings
        self._scaler = StandardScaler(copy=False).fit(embeddings[np.asarray(fitted_on)])

    def __getitem__(self, indices: Sequence[int]) -> np.ndarray:
        # Indexing by an array copies, so scaling in place leaves the embeddings alone.
        return np.asarray(self._scaler.transform(self._embeddings[np.asarray(indices, dtype=int)]), dtype=np.float32)


def training_and_validation(task: Task, part: Round, seed: int, fraction: float) -> tuple[list[int], list[int]]:
    """The clips to try a setting on: the set's own parts, or a share of the training part held out.

    What is held out is stratified by label and whole in its groups (see `hold_out`), unless the groups are the
    classes, so that most of what is held out could not be learnt: then groups are ignored, which is said once.
    """
    if part.valid:
        return part.train, part.valid
    labels = None if task.multi_label else [task.clips[index].labels[0] for index in part.train]
    groups = [task.clips[index].group for index in part.train]
    train, valid = hold_out(labels, groups, fraction, seed)
    if mostly_unseen([task.clips[index].labels for index in part.train], train, valid):
        _say_once(
            f"warning: groups of {task.name} tell its classes, so validation clips are drawn without regard to them"
        )
        train, valid = hold_out(labels, [None] * len(groups), fraction, seed)
    return [part.train[index] for index in train], [part.train[index] for index in valid]


@lru_cache
def _say_once(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def require_labels(task: Task, rounds: Sequence[Round], targets: np.ndarray) -> None:
    """Refuse a task of which a round has training clips without any label: there is nothing to draw from.

    Args:
        targets: (N, C) bool of all clips.
    """
    for part in rounds:
        if not targets[part.train].any():
            raise ByolaError(f"{task.name} has no labelled clip to train on in {part.name!r}; give it some")


def places(among: Sequence[int], wanted: Sequence[int]) -> np.ndarray:
    """Where each of `wanted` stands in `among`, which holds them all, each once."""
    order = np.argsort(among)
    return order[np.searchsorted(among, wanted, sorter=order)]


def seeds_where_random(rounds: Sequence[Round], seeds: tuple[int, ...]) -> tuple[int, ...]:
    """`seeds` where a validation part is drawn; none where the set has its own and nothing is random."""
    return seeds if any(not part.valid for part in rounds) else ()
