"""The best epoch: by score where that is sure, by likelihood where it is not."""

from __future__ import annotations

import math

import pytest

from downstream.protocols.finetuning.choice import EpochChoice


@pytest.mark.parametrize(
    ("n_clips", "epochs", "best"),
    [
        (32, [(0.78, -0.6), (0.75, -0.4)], 1),  # one clip fewer, and likelier
        (3200, [(0.78, -0.6), (0.75, -0.4)], 0),  # a hundred clips fewer
        (32, [(0.78, -0.6), (0.5, -0.4)], 0),
        (32, [(0.3, -0.1), (0.78, -0.6)], 1),
        (32, [(0.7, -0.5), (0.7, -0.5), (0.7, -0.5)], 0),
        (100, [(0.70, -0.5), (0.66, -0.4), (0.62, -0.3)], 1),  # it does not slide down step by step
        (100, [(0.66, -0.4), (0.70, -0.5), (0.72, -0.6)], 2),
        (100, [(0.50, -1.0), (0.54, -1.2), (0.58, -1.4)], 2),  # what was passed over does not come back
        (100, [(-math.inf, -0.5), (-math.inf, -0.4)], 1),  # no clip can tell
    ],
)
def test_the_best_epoch(n_clips: int, epochs: list[tuple[float, float]], best: int) -> None:
    choice = EpochChoice(n_clips)
    taken = [index for index, epoch in enumerate(epochs) if choice.is_best(*epoch)]
    assert taken[-1] == best


def test_patience_counts_from_the_last_rise_of_the_highest_score() -> None:
    choice, taken, waited = EpochChoice(32), [], []
    for score, likelihood in [(0.70, -0.5), (0.71, -0.6), (0.72, -0.7), (0.72, -0.4), (0.65, -0.8)]:
        taken.append(choice.is_best(score, likelihood))
        waited.append(choice.since_rise)
    assert taken == [True, False, False, True, False] and waited == [0, 0, 0, 1, 2]
