"""Which epoch is the best: by its validation score, and by likelihood where that cannot tell."""

from __future__ import annotations

import math


class EpochChoice:
    """The best of epochs that come one by one: likelier ones replace it while their scores are as good as equal.

    An epoch takes the place of the best one so far if its score is within a standard error of the highest score
    so far, and if either the best one's is not (any more) or its likelihood is higher. So the earlier of equals
    stays, and epochs that were passed over do not come back when the highest score rises.

    A few clips more or fewer are chance: the highest of many scores on 32 clips is often that of a lucky early
    epoch. The error is that of a share of one half, the largest there is.

    Args:
        n_clips: to validate on.

    Attributes:
        since_rise: epochs since the one that first reached the highest score; all of them where none did.
    """

    def __init__(self, n_clips: int) -> None:
        self._error = 0.5 / math.sqrt(n_clips)
        self._highest = self._score = self._likelihood = -math.inf
        self.since_rise = 0

    def is_best(self, score: float, likelihood: float) -> bool:
        """Whether the next epoch takes the place of the best one so far.

        Args:
            score: at most 1, higher is better; -inf where no clip can tell.
            likelihood: mean log-likelihood of the truth.
        """
        self.since_rise = 0 if score > self._highest else self.since_rise + 1
        self._highest = max(self._highest, score)
        floor = self._highest - self._error
        better = score >= floor and (self._score < floor or likelihood > self._likelihood)
        if better:
            self._score, self._likelihood = score, likelihood
        return better
