"""Dividing clips where the set itself does not: folds, and a validation part held out of training."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from byol_a.errors import ByolaError


def make_folds(
    n_clips: int, labels: Sequence[str] | None, groups: Sequence[str | None], n_folds: int, seed: int
) -> list[int]:
    """The fold of every clip: stratified by label, and no group in two folds where every clip has a group.

    Args:
        labels: one per clip; None for no stratification (several labels a clip).

    Returns:
        Fold numbers from 0; fewer than `n_folds` of them where there are not that many clips or groups.
    """
    splitter, arguments = _splitter(n_clips, labels, groups, n_folds, seed)
    folds = np.zeros(n_clips, dtype=int)
    with warnings.catch_warnings():
        # A class with fewer clips than folds is in some of them only, which is no fault.
        warnings.simplefilter("ignore", UserWarning)
        for number, (_, members) in enumerate(splitter.split(**arguments)):
            folds[members] = number
    return np.unique(folds, return_inverse=True)[1].tolist()


def hold_out(
    labels: Sequence[str] | None, groups: Sequence[str | None], fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the clips to train on and of those to validate on, about `fraction` of them.

    Stratified and group-wise as `make_folds`. With few groups, one whole group is held out, however large.
    Successive seeds hold out different clips, as long as there are any.
    """
    n_parts = round(1 / fraction)
    found = np.asarray(make_folds(len(groups), labels, groups, n_parts, seed // n_parts))
    part = seed % (found.max() + 1)
    return np.flatnonzero(found != part), np.flatnonzero(found == part)


def _splitter(
    n_clips: int, labels: Sequence[str] | None, groups: Sequence[str | None], n_folds: int, seed: int
) -> tuple[Any, dict[str, Any]]:
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    grouped = all(group is not None for group in groups) and len(set(groups)) > 1
    largest_class = n_clips if labels is None else max(labels.count(label) for label in set(labels))
    n_folds = min(n_folds, len(set(groups)) if grouped else n_clips, largest_class)
    places = np.zeros(n_clips)
    if n_folds < 2:
        raise ByolaError(f"{n_clips} clips are too few to divide; give more clips of each class, or a validation part")
    if grouped:
        renamed = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
        if labels is None:
            # GroupKFold itself takes no seed everywhere: it goes by size and name, so the names are shuffled.
            renamed = np.random.default_rng(seed).permutation(renamed.max() + 1)[renamed]
            return GroupKFold(n_folds), {"X": places, "groups": renamed}
        by_group = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
        return by_group, {"X": places, "y": np.asarray(labels), "groups": renamed}
    if labels is None:
        return KFold(n_folds, shuffle=True, random_state=seed), {"X": places}
    return StratifiedKFold(n_folds, shuffle=True, random_state=seed), {"X": places, "y": np.asarray(labels)}
