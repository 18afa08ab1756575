"""How long a comparison will still take."""

from __future__ import annotations

import time
from collections.abc import Sequence

from byol_a.progress import format_duration

FINISHED_BEFORE = 1.0  # seconds; a run that takes less was only read, and says nothing of the others


class Clock:
    """Time left: what training is expected to take, corrected by what it took, and the rest of a run on top.

    Args:
        total: runs in all.
    """

    def __init__(self, total: int) -> None:
        self.total, self.number = total, 0
        self._began, self._expected = 0.0, 0.0
        self._took: list[tuple[float, float]] = []  # (expected seconds of training, all seconds) of runs that took time

    def begin(self, expected: float) -> None:
        """A run begins that should train for `expected` seconds."""
        self.number += 1
        self._began, self._expected = time.monotonic(), expected

    def end(self) -> None:
        """It is over."""
        took = time.monotonic() - self._began
        if took > FINISHED_BEFORE:
            self._took.append((self._expected, took))

    def left(self, expected: Sequence[float]) -> float | None:
        """Seconds that runs with these expected seconds of training will take; None while nothing is known."""
        if not self._took:
            return None
        untrained = [took for trained, took in self._took if not trained]
        beside = sum(untrained) / len(untrained) if untrained else 0.0
        of_training = sum(trained for trained, _ in self._took)
        longer = sum(took - beside for trained, took in self._took if trained) / of_training if of_training else 1.0
        return sum(max(longer, 0.1) * seconds + beside for seconds in expected)

    def describe(self, expected: Sequence[float]) -> str:
        """How long the last run took, and how much is left."""
        took = f"took {format_duration(time.monotonic() - self._began)}"
        left = self.left(expected)
        return took if left is None or not expected else f"{took}, about {format_duration(left)} left"
