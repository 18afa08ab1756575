"""What ends the reading is known two steps before the batch that could not be read would have been used."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from byol_a.training.look_ahead import STEPS_AHEAD, LookAhead
from byol_a.training.sources import Batch

PARTS = [slice(0, 2), slice(2, 4)]


def batches(steps: int, error: Exception | None = None) -> Iterator[Batch]:
    for step in range(steps):
        for part in PARTS:
            yield Batch(torch.full((2, 1), float(step)), part)
    if error is not None:
        yield Batch(torch.zeros(2, 1), PARTS[0])  # half a step
        raise error


def test_all_steps_pass_whole_and_in_order() -> None:
    steps = LookAhead(batches(7), parts=2)
    passed = [(step[0].wave[0].item(), [part.clips for part in step]) for step in steps]
    assert passed == [(step, PARTS) for step in range(7)]
    assert steps.failure is None


@pytest.mark.parametrize("error", [OSError("gone"), MemoryError(), ValueError("a bug")])
def test_a_failure_is_known_ahead_and_raised_in_the_end(error: Exception) -> None:
    steps = LookAhead(batches(7, error), parts=2)
    known = []
    with pytest.raises(type(error)) as caught:
        for _ in steps:
            known.append(steps.failure is not None)
    assert caught.value is error
    assert known == [False] * (7 - STEPS_AHEAD) + [True] * STEPS_AHEAD


def test_the_first_batch_fails() -> None:
    with pytest.raises(OSError, match="gone"):
        list(LookAhead(batches(0, OSError("gone")), parts=2))


def test_nothing_to_do() -> None:
    assert list(LookAhead(batches(0), parts=2)) == []
