"""Held-out parts and folds: sizes, strata, groups, seeds."""

from __future__ import annotations

import numpy as np
import pytest

from byol_a.errors import ByolaError
from downstream.splits import hold_out, make_folds, mostly_unseen


def test_hold_out_is_a_tenth_and_stratified() -> None:
    labels = ["a"] * 100 + ["b"] * 50
    train, valid = hold_out(labels, [None] * 150, 0.1, seed=0)
    assert sorted([*train, *valid]) == list(range(150))
    assert [sum(labels[i] == name for i in valid) for name in "ab"] == [10, 5]


def test_ten_seeds_hold_out_every_clip_once_and_the_next_ones_differ() -> None:
    parts = [tuple(hold_out(["a", "b"] * 50, [None] * 100, 0.1, seed)[1]) for seed in range(11)]
    assert sorted(np.concatenate(parts[:10])) == list(range(100))
    assert parts[10] not in parts[:10]
    assert parts[3] == tuple(hold_out(["a", "b"] * 50, [None] * 100, 0.1, 3)[1])


@pytest.mark.parametrize("labels", [None, ["a", "b", "c"] * 40])
@pytest.mark.parametrize("n_groups", [2, 5, 30])
def test_groups_never_straddle(labels: list[str] | None, n_groups: int) -> None:
    groups = [f"g{i % n_groups}" for i in range(120)]
    for seed in range(4):
        train, valid = hold_out(labels, groups, 0.1, seed)
        assert len(train) and len(valid)
        assert not {groups[i] for i in train} & {groups[i] for i in valid}


def test_five_speakers_hold_out_one_each() -> None:
    groups = [f"speaker{i % 5}" for i in range(100)]
    held = [{groups[i] for i in hold_out(["x", "y"] * 50, groups, 0.1, seed)[1]} for seed in range(5)]
    assert all(len(speakers) == 1 for speakers in held)
    assert set.union(*held) == set(groups)


def test_groups_that_are_classes_hold_out_what_nobody_could_learn() -> None:
    labels = ["abcd"[i % 4] for i in range(40)]
    alone = [(name,) for name in labels]
    assert mostly_unseen(alone, *hold_out(labels, labels, 0.1, 0))
    assert not mostly_unseen(alone, *hold_out(labels, [None] * 40, 0.1, 0))
    assert not mostly_unseen(alone, *hold_out(labels, [str(i % 7) for i in range(40)], 0.1, 0))
    train, valid = np.asarray([0, 1]), np.asarray([2, 3, 4])
    assert mostly_unseen([("a",), ("a", "b"), ("c",), ("c", "d"), ("a",)], train, valid)
    assert not mostly_unseen([("a",), ("a", "b"), ("c", "b"), ("c", "d"), ()], train, valid)


def test_one_group_for_all_counts_as_none() -> None:
    train, valid = hold_out(["a", "b"] * 20, ["same"] * 40, 0.1, 0)
    assert len(train) + len(valid) == 40 and len(valid)


def test_folds_without_enough_clips() -> None:
    assert sorted(set(make_folds(6, ["a"] * 3 + ["b"] * 3, [None] * 6, 5, 0).numbers)) == [0, 1, 2]
    with pytest.raises(ByolaError, match="too few"):
        make_folds(2, ["a", "b"], [None] * 2, 5, 0)


@pytest.mark.parametrize("labels", [None, ["a", "b"] * 30])
def test_a_clip_without_a_group_is_one_of_its_own(labels: list[str] | None) -> None:
    groups = [None if i % 20 == 0 else f"g{i // 5}" for i in range(60)]
    folds = make_folds(60, labels, groups, 5, 0)
    assert folds.kind.endswith(" group-wise")
    of_group: dict[str | None, set[int]] = {}
    for group, fold in zip(groups, folds.numbers, strict=True):
        of_group.setdefault(group, set()).add(fold)
    del of_group[None]
    assert all(len(found) == 1 for found in of_group.values())
    train, valid = hold_out(labels, groups, 0.2, 0)
    assert not {groups[i] for i in train} & {groups[i] for i in valid} - {None}


def test_the_kind_of_folds_is_what_was_done() -> None:
    labels = ["a", "b"] * 10
    assert make_folds(20, labels, [None] * 20, 5, 0).kind == "stratified"
    assert make_folds(20, labels, ["same"] * 20, 5, 0).kind == "stratified"
    assert make_folds(20, None, [None] * 20, 5, 0).kind == "shuffled"
    assert make_folds(20, None, [f"g{i // 2}" for i in range(20)], 5, 0).kind == "shuffled group-wise"
