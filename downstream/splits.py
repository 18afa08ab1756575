"""Dividing clips where the set itself does not: folds, and a validation part held out of training."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from byol_a.errors import ByolaError


class Folds(NamedTuple):
    """The fold of every clip, from 0, and how they were drawn: "stratified" or "shuffled", maybe "group-wise"."""

    numbers: list[int]
    kind: str


def make_folds(
    n_clips: int, labels: Sequence[str] | None, groups: Sequence[str | None], n_folds: int, seed: int
) -> Folds:
    """Divide clips into folds: stratified by label, and no group in two of them.

    Args:
        labels: one per clip; None for no stratification (several labels a clip).
        groups: one per clip; a clip without one (None) is a group of its own. One group for all counts as none.

    Returns:
        Fewer than `n_folds` folds where there are not that many clips or groups.
    """
    of_labels = None if labels is None else tuple(labels)
    folds, kind = _folds(n_clips, of_labels, tuple(groups), n_folds, seed)
    return Folds(list(folds), kind)


@lru_cache(maxsize=32)  # a model is scored on the divisions that the one before it was scored on
def _folds(
    n_clips: int, labels: tuple[str, ...] | None, groups: tuple[str | None, ...], n_folds: int, seed: int
) -> tuple[tuple[int, ...], str]:
    numbered = _number_groups(groups)
    splitter, arguments = _splitter(n_clips, labels, numbered, n_folds, seed)
    folds = np.zeros(n_clips, dtype=int)
    with warnings.catch_warnings():
        # A class with fewer clips than folds is in some of them only, which is no fault.
        warnings.simplefilter("ignore", UserWarning)
        for number, (_, members) in enumerate(splitter.split(**arguments)):
            folds[members] = number
    kind = ("shuffled" if labels is None else "stratified") + (" group-wise" if numbered is not None else "")
    return tuple(np.unique(folds, return_inverse=True)[1].tolist()), kind


def hold_out(
    labels: Sequence[str] | None, groups: Sequence[str | None], fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the clips to train on and of those to validate on, about `fraction` of them.

    Stratified and group-wise as `make_folds`. With few groups, one whole group is held out, however large.
    Successive seeds hold out different clips, as long as there are any.
    """
    n_parts = round(1 / fraction)
    found = np.asarray(make_folds(len(groups), labels, groups, n_parts, seed // n_parts).numbers)
    part = seed % (found.max() + 1)
    return np.flatnonzero(found != part), np.flatnonzero(found == part)


def mostly_unseen(labels: Sequence[tuple[str, ...]], train: np.ndarray, valid: np.ndarray) -> bool:
    """Whether most of the held-out clips have labels, and none that a training clip has.

    Args:
        labels: of each clip.
    """
    known = {name for index in train for name in labels[index]}
    return sum(bool(labels[index]) and known.isdisjoint(labels[index]) for index in valid) > len(valid) / 2


def _number_groups(groups: Sequence[str | None]) -> np.ndarray | None:
    """A number for each clip's group, a fresh one for each clip without; None where no two groups are known."""
    names = sorted({group for group in groups if group is not None})
    number, fresh = {name: index for index, name in enumerate(names)}, itertools.count(len(names))
    numbered = np.asarray([next(fresh) if group is None else number[group] for group in groups], dtype=int)
    return numbered if names and next(fresh) > 1 else None


def _splitter(
    n_clips: int, labels: Sequence[str] | None, groups: np.ndarray | None, n_folds: int, seed: int
) -> tuple[Any, dict[str, Any]]:
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    largest_class = n_clips if labels is None else max(Counter(labels).values())
    n_folds = min(n_folds, n_clips if groups is None else int(groups.max()) + 1, largest_class)
    places = np.zeros(n_clips)
    if n_folds < 2:
        raise ByolaError(f"{n_clips} clips are too few to divide; give more clips of each class, or a validation part")
    if groups is not None:
        if labels is None:
            # GroupKFold itself takes no seed everywhere: it goes by size and name, so the names are shuffled.
            renamed = np.random.default_rng(seed).permutation(groups.max() + 1)[groups]
            return GroupKFold(n_folds), {"X": places, "groups": renamed}
        by_group = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
        return by_group, {"X": places, "y": np.asarray(labels), "groups": groups}
    if labels is None:
        return KFold(n_folds, shuffle=True, random_state=seed), {"X": places}
    return StratifiedKFold(n_folds, shuffle=True, random_state=seed), {"X": places, "y": np.asarray(labels)}
