"""Tests of differences: exact cases, p-values that are uniform where nothing differs, and power where it does."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from downstream.metrics import METRICS, accuracy, holm, macro_map
from downstream.metrics.significance import mcnemar_test, permutation_test
from tests.downstream.metrics.made import CLASSES, many_labels


def right_and_wrong(right: list[bool]) -> np.ndarray:
    """Scores (N, 2) of clips of the first class, predicted rightly or not."""
    return np.eye(2)[[0 if each else 1 for each in right]]


def test_mcnemar_counts_only_clips_that_one_model_gets_right() -> None:
    # 50 clips alike; 9 that only the first gets right, 2 that only the second does, in two folds.
    first = [True] * 30 + [False] * 20 + [True] * 9 + [False] * 2
    second = [True] * 30 + [False] * 20 + [False] * 9 + [True] * 2
    a, b = right_and_wrong(first), right_and_wrong(second)
    targets = np.eye(2, dtype=bool)[[0] * 61]
    expected = 2 * sum(comb(11, k) for k in range(3)) / 2**11
    folds = [slice(0, 40), slice(40, 61)]
    found = mcnemar_test([a[f] for f in folds], [b[f] for f in folds], [targets[f] for f in folds])
    assert found == pytest.approx(expected)
    assert mcnemar_test([a], [a], [targets]) == 1
    # The permutation test of the same is McNemar's, up to the draw.
    assert permutation_test(accuracy, [[a]], [[b]], [targets], ["x", "y"], 4000) == pytest.approx(expected, abs=0.015)


def test_permutations_of_few_clips_equal_all_of_them_listed() -> None:
    rng = np.random.default_rng(0)
    targets = np.eye(3, dtype=bool)[[0, 1, 2, 0, 1, 2, 0, 1]]
    a, b = 2.0 * targets + rng.normal(size=(8, 3)), rng.normal(size=(8, 3))
    once = np.ones((1, 8))
    brier = METRICS["brier"]

    def difference(kept: np.ndarray) -> float:
        one, other = np.where(kept[:, None], a, b), np.where(kept[:, None], b, a)
        return float((brier(one, targets, "xyz", once) - brier(other, targets, "xyz", once))[0])

    every = [difference(np.array([code >> bit & 1 for bit in range(8)], dtype=bool)) for code in range(256)]
    expected = np.mean(np.abs(every) >= abs(every[-1]) - 1e-9)
    assert permutation_test(brier, [[a]], [[b]], [targets], "xyz", 5000) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("name", ["macro_map", "lwlrap", "binary_brier"])
def test_p_values_are_uniform_between_models_that_are_alike(name: str) -> None:
    p_values = []
    for seed in range(200):
        (a, b), targets = many_labels(60, models=2, rate=0.2, seed=seed)
        if name == "macro_map":
            b = 5 * b - 3  # logits of models need not be on one scale where only ranks are looked at
        p_values.append(permutation_test(METRICS[name], [[a]], [[b]], [targets], CLASSES, 100, seed))
    for level in (0.05, 0.2, 0.5):
        spread = np.sqrt(level * (1 - level) / 200)
        assert np.mean(np.asarray(p_values) <= level) == pytest.approx(level, abs=3 * spread)


def test_a_real_difference_is_found_also_with_folds_and_unequal_numbers_of_seeds() -> None:
    (good, other), targets = many_labels(200, models=2)
    noise = np.random.default_rng(1)
    better = [[scores + noise.normal(size=scores.shape) for scores in (good[:120], good[120:])] for _ in range(3)]
    worse = [[scores + 3 * noise.normal(size=scores.shape) for scores in (other[:120], other[120:])] for _ in range(2)]
    folds = [targets[:120], targets[120:]]
    assert permutation_test(macro_map, better, worse, folds, CLASSES, 200) == pytest.approx(1 / 201)
    assert permutation_test(macro_map, better, better, folds, CLASSES, 200) == 1


def test_what_nothing_can_tell_has_no_p_value() -> None:
    nothing = np.zeros((4, 2), dtype=bool)
    assert np.isnan(permutation_test(macro_map, [[np.eye(4, 2)]], [[np.ones((4, 2))]], [nothing], "ab", 10))


def test_holm_is_its_table() -> None:
    # 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1 raised to the one before it.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.5, float("nan"), 0.9]), [1.0, np.nan, 1.0])
    assert holm([]) == []
