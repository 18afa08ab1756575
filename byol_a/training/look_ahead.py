"""Batches a little ahead of their use, so that what ends the reading is known while there is time to save."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator

from byol_a.training.sources import Batch

STEPS_AHEAD = 2
"""A vote on stopping is answered one step later: all processes must still have a batch for that step."""


class LookAhead:
    """The parts of each optimiser step, taken `STEPS_AHEAD` steps before they are used.

    Attributes:
        failure: what the reading ended with, as soon as it is known; raised only when there are no parts left.

    Args:
        batches: the parts of all steps.
        parts: how many make a step.
    """

    def __init__(self, batches: Iterable[Batch], parts: int) -> None:
        self.failure: Exception | None = None
        self._batches, self._parts = iter(batches), parts

    def __iter__(self) -> Iterator[list[Batch]]:
        steps: deque[list[Batch]] = deque()
        ended = False
        while True:
            while not ended and len(steps) <= STEPS_AHEAD:
                step = self._read()
                ended = not step
                steps += [step] if step else []
            if not steps:
                break
            yield steps.popleft()
        if self.failure is not None:
            raise self.failure

    def _read(self) -> list[Batch]:
        """The parts of the next step; none at the end, or where the reading failed."""
        try:
            return list(itertools.islice(self._batches, self._parts))
        except Exception as error:
            self.failure = error
            return []
