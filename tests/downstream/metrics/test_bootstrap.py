"""Scores over folds and seeds; intervals against theory and by how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from downstream.metrics import METRICS, accuracy, d_prime, ece, macro_map, score_folds
from downstream.metrics.bootstrap import blocks, resampled_scores
from downstream.metrics.catalogue import bounds
from tests.downstream.metrics.made import CLASSES, many_labels, one_label


def test_interval_of_one_fold_is_the_binomial_one() -> None:
    scores, targets = one_label(2000)
    found = score_folds(accuracy, [[scores]], [targets], CLASSES, resamples=4000)
    half = 1.96 * np.sqrt(found.value * (1 - found.value) / 2000)
    assert found.low == pytest.approx(found.value - half, abs=0.003)
    assert found.high == pytest.approx(found.value + half, abs=0.003)
    assert found.std is None


def test_score_is_the_mean_over_folds_then_seeds() -> None:
    right, wrong = np.eye(6)[[0] * 10], np.eye(6)[[1] * 10]
    targets = np.eye(6, dtype=bool)[[0] * 10]
    found = score_folds(accuracy, [[right, wrong[:5]], [right, right[:5]]], [targets, targets[:5]], CLASSES)
    assert found.value == pytest.approx(0.75)  # folds count alike, whatever their size
    assert found.fold_scores == (1.0, 0.5)
    assert found.std == pytest.approx(np.std([0.5, 1.0], ddof=1))
    assert (found.low, found.high) == (0.75, 0.75)


@pytest.mark.parametrize("name", ["macro_map", "auc_roc", "lwlrap", "binary_brier"])
def test_resamples_are_scores_of_the_clips_drawn(name: str) -> None:
    (scores,), targets = many_labels(40)
    drawn = resampled_scores(METRICS[name], [[scores]], [targets], CLASSES, 3, seed=5)[:, 0]
    rng = np.random.default_rng(5)
    for value in drawn:
        clips = rng.integers(0, 40, 40)
        alone = METRICS[name](scores[clips], targets[clips], CLASSES, np.ones((1, 40)))[0]
        assert value == pytest.approx(alone, rel=1e-6)


def test_intervals_end_where_the_metric_does_and_nowhere_else() -> None:
    (scores,), targets = many_labels(400)
    for shift in (0.0, -1.2):  # d' around 1.7 and around 0, whatever the draws happen to be
        found = score_folds(d_prime, [[scores + shift * targets]], [targets], CLASSES, 200)
        assert found.low not in (0.0, 1.0) and found.high not in (0.0, 1.0)
    few = many_labels(12)[1]
    perfect = score_folds(macro_map, [[few + np.linspace(0, 0.1, 12)[:, None]]], [few], CLASSES)
    assert perfect.value == 1.0 == perfect.high
    assert [bounds(METRICS[name]) for name in ("accuracy", "brier")] == [(0, 1), (0, 2)]


def test_bootstrap_is_the_same_every_time_and_in_any_number_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    (scores,), targets = many_labels()
    whole = score_folds(macro_map, [[scores, scores]], [targets, targets], CLASSES, resamples=50)
    assert score_folds(macro_map, [[scores, scores]], [targets, targets], CLASSES, resamples=50) == whole
    monkeypatch.setattr("downstream.metrics.bootstrap.WEIGHTS_AT_ONCE", 80 * 7)
    assert [block.stop - block.start for block in blocks(16, 80)] == [7, 7, 2]
    assert score_folds(macro_map, [[scores, scores]], [targets, targets], CLASSES, resamples=50) == whole


def test_intervals_hold_the_mean_over_test_sets() -> None:
    sets = [many_labels(120, rate=0.1, seed=seed) for seed in range(400)]
    for metric in (macro_map, d_prime):
        truth = np.mean([metric(scores, targets, CLASSES, np.ones((1, 120)))[0] for (scores,), targets in sets])
        found = [score_folds(metric, [[scores]], [targets], CLASSES, 100) for (scores,), targets in sets[:150]]
        # Percentile intervals of rare classes (12 clips) are a little short, which stays within these bounds.
        assert 0.85 <= np.mean([score.low <= truth <= score.high for score in found]) <= 0.99


def test_the_interval_is_around_the_score_even_of_rare_classes() -> None:
    rng = np.random.default_rng(0)
    targets = rng.random((300, 200)) < 0.01  # three positive clips each
    scores = rng.normal(size=targets.shape) + 2 * targets
    found = score_folds(macro_map, [[scores]], [targets], [""] * 200, resamples=200)
    drawn = resampled_scores(macro_map, [[scores]], [targets], [""] * 200, 200, seed=0)
    assert found.low < found.value < found.high
    assert np.quantile(drawn, 0.025) > found.value  # without the shift it would lie outside


def test_no_interval_goes_beyond_what_the_metric_can_be() -> None:
    scores, targets = one_label(40)
    found = score_folds(ece, [[scores]], [targets], CLASSES)
    assert 0 <= found.low < found.value < found.high
    almost = targets.astype(float)
    almost[0] = np.roll(almost[0], 1)
    for seed in range(5):
        found = score_folds(accuracy, [[almost]], [targets], CLASSES, 100, seed)
        assert found.low < found.value < found.high <= 1


@pytest.mark.filterwarnings("error")
def test_a_score_that_nothing_can_tell_is_nan_without_warnings() -> None:
    targets = np.ones((4, 2), dtype=bool)  # no negatives
    found = score_folds(d_prime, [[np.eye(4, 2)], [np.eye(4, 2)]], [targets], ["a", "b"], resamples=20)
    assert np.isnan([found.value, found.low, found.high, *found.fold_scores]).all()
