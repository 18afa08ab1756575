"""The names of metrics, and what stands beside a task's own."""

from __future__ import annotations

import numpy as np
import pytest

from byol_a.errors import UsageError
from downstream.metrics import LOWER_IS_BETTER, METRIC_TITLES, METRICS, UNBOUNDED_METRICS, metrics_beside
from tests.downstream.metrics.made import CLASSES, many_labels, one_label


def test_every_metric_has_a_title_and_all_sets_name_metrics() -> None:
    assert list(METRIC_TITLES) == list(METRICS)
    assert METRICS.keys() >= UNBOUNDED_METRICS | LOWER_IS_BETTER


def test_the_tasks_own_metrics_come_first_and_none_twice() -> None:
    assert metrics_beside(["accuracy"], multi_label=False) == ("accuracy", "balanced_accuracy", "ece", "brier")
    found = metrics_beside(["pitch_accuracy", "chroma_accuracy"], multi_label=False)
    assert found[:3] == ("pitch_accuracy", "chroma_accuracy", "accuracy")
    found = metrics_beside(["macro_map", "lwlrap"], multi_label=True)
    assert found == ("macro_map", "lwlrap", "d_prime", "binary_ece", "binary_brier")
    with pytest.raises(UsageError, match=r"no metric 'acuracy'; did you mean 'accuracy'\?"):
        metrics_beside(["acuracy"], multi_label=False)
    with pytest.raises(UsageError, match="brier cannot be a task's own metric, in which higher is better"):
        metrics_beside(["brier", "accuracy"], multi_label=False)


@pytest.mark.parametrize("name", METRICS)
def test_a_good_model_is_better_than_a_bad_one_and_scores_lie_where_they_should(name: str) -> None:
    if name in metrics_beside(["macro_map", "auc_roc"], multi_label=True):
        (good,), targets = many_labels(300)
    else:
        good, targets = one_label()
    # Confidently wrong: the same noise with the truth turned round.
    values = [
        METRICS[name](scores, targets, CLASSES, np.ones((1, 300)))[0]
        for scores in (5 * (good + 3 * targets - 1.5), 5 * (good - 3 * targets + 1.5))
    ]
    assert (values[0] < values[1]) == (name in LOWER_IS_BETTER)
    if name not in UNBOUNDED_METRICS:
        assert all(0 <= value <= 1 for value in values)


@pytest.mark.parametrize("name", METRICS)
def test_many_resamples_at_once_are_the_same_as_one_by_one(name: str) -> None:
    scores, targets = one_label(50)
    weights = np.random.default_rng(0).multinomial(50, np.full(50, 1 / 50), 7).astype(np.float32)
    one_by_one = [METRICS[name](scores, targets, CLASSES, row[None])[0] for row in weights]
    np.testing.assert_allclose(METRICS[name](scores, targets, CLASSES, weights), one_by_one, rtol=1e-6)
