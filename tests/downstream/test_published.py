"""Published scores: complete, consistent with their own means, and under the names that tasks have."""

from __future__ import annotations

import numpy as np
import pytest

from downstream.published import MEAN, PublishedScore, published_scores
from downstream.tasks import task_recipes

SCORES = published_scores()


def test_every_score_is_of_a_known_task_and_of_its_own_metric() -> None:
    recipes = task_recipes()
    for score in SCORES:
        assert 0 < score.value < 1 and score.source
        for task in score.mean_over:
            assert task in recipes
        if score.task != MEAN:
            assert score.metric == recipes[score.task].metrics[0]
            assert score.mean_over == ()


@pytest.mark.parametrize(
    "mean", [score for score in SCORES if score.task == MEAN], ids=lambda score: f"{score.model} {score.dim}"
)
def test_means_are_those_of_the_tasks(mean: PublishedScore) -> None:
    assert len(mean.mean_over) in (6, 9)
    own = [score.value for score in SCORES if (score.model, score.dim) == (mean.model, mean.dim) and score.task != MEAN]
    if own:
        assert len(own) == len(mean.mean_over)
        assert np.mean(own) == pytest.approx(mean.value, abs=0.0006)  # papers round to a tenth of a per cent


def test_scores_of_a_task_say_protocol_and_size() -> None:
    every = {(score.model, score.dim, score.protocol): score.value for score in SCORES if score.task == "us8k"}
    assert every == {
        ("BYOL-A v1", 2048, "linear"): 0.791,
        ("BYOL-A v1", 512, "linear"): 0.782,
        ("BYOL-A v2", 3072, "evar"): 0.797,
    }
    assert all("not EVAR" in score.note for score in SCORES if score.protocol == "linear")


def test_the_best_means_are_there_and_do_not_claim_a_paper() -> None:
    means = [score for score in SCORES if (score.task, score.protocol) == (MEAN, "evar")]
    ranked = sorted(means, key=lambda score: -score.value)
    assert [score.model for score in ranked] == ["M2D", "ATST-Frame", "ATST-Clip", "Dasheng 1.2B", "BYOL-A v2", "BEATs"]
    for score in means:
        assert ("arXiv" in score.source) == (score.model == "BYOL-A v2")
        assert ("secondary source" in score.source) == (score.model != "BYOL-A v2")
