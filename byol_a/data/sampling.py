"""The order of an epoch: which clip comes when, uniformly by clip or in proportion to weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from byol_a.errors import UsageError

# An expected count this close to a whole number is that number: what rounding took away is not drawn for.
_WHOLE = 1e-9


class Order(NamedTuple):
    """One epoch. `repeats` numbers the occurrences of a clip in it 0, 1, 2, ..., so that their crops differ."""

    indices: np.ndarray  # (size,) int64
    repeats: np.ndarray  # (size,) int32


class EpochOrder:
    """The order of every epoch, a function of (clips, weights, seed, epoch) alone: the same in every process.

    Args:
        clips: N, how many there are.
        seed: of all epochs.
        weights: (N,) how often a clip is drawn in proportion to others; each clip once an epoch if None.
        size: entries of a weighted epoch; N if None.

    Raises:
        UsageError: for weights that `checked_weights` refuses, or without clips.
    """

    def __init__(self, clips: int, seed: int, weights: np.ndarray | None = None, size: int | None = None) -> None:
        if clips < 1:
            raise UsageError("an epoch needs at least one clip")
        if weights is not None and np.shape(weights) != (clips,):
            raise UsageError(f"{clips} clips need as many weights, not an array of shape {np.shape(weights)}")
        self._seed = seed
        self._weights = None if weights is None else checked_weights(weights)
        self.size = clips if size is None or weights is None else size

    def epoch(self, epoch: int) -> Order:
        """The clips of epoch `epoch`, in order."""
        if self._weights is None:
            return Order(uniform_order(self.size, self._seed, epoch), np.zeros(self.size, np.int32))
        return weighted_order(self._weights, self._seed, epoch, self.size)


def uniform_order(clips: int, seed: int, epoch: int) -> np.ndarray:
    """A random permutation of 0 to `clips` - 1: int64 (clips,)."""
    return np.random.default_rng((seed, epoch)).permutation(clips)


def weighted_order(weights: np.ndarray, seed: int, epoch: int, size: int) -> Order:
    """Clips in proportion to their weights, in random order.

    Systematic resampling (Kitagawa 1996): a clip expected e = `size` * weight / (sum of weights) times occurs
    floor(e) or ceil(e) times, with mean e over epochs. Independent draws would leave out a third of the clips and
    take others four times, by chance alone. The clips pass the comb in random order, so that two neighbours of
    the list are no more and no less likely to be in an epoch together than any other two.

    Args:
        weights: (N,) float64, as `checked_weights` returns them.
        seed, epoch: name the order.
        size: entries of the epoch.
    """
    rng = np.random.default_rng((seed, epoch))
    # A running sum adds in the same order on every machine; np.sum does not promise that.
    expected = weights * (size / np.cumsum(weights)[-1])
    whole = np.floor(expected + _WHOLE)
    counts = whole.astype(np.int64)
    left = size - int(counts.sum())
    if left > 0:
        clips = rng.permutation(len(weights))
        ends = np.cumsum(np.maximum(expected - whole, 0)[clips])
        teeth = rng.random() + np.arange(left)  # one apart: a fraction below 1 meets one of them at most
        # Rounding may push the last tooth past the end: it belongs to the last clip that has a fraction.
        chosen = np.minimum(np.searchsorted(ends, teeth, side="right"), np.searchsorted(ends, ends[-1]))
        counts += np.bincount(clips[chosen], minlength=len(counts))
    indices = np.repeat(np.arange(len(counts)), counts)
    firsts = np.repeat((np.cumsum(counts) - counts).astype(np.int32), counts)
    repeats = np.arange(size, dtype=np.int32) - firsts
    shuffle = rng.permutation(size)
    return Order(indices[shuffle], repeats[shuffle])


def checked_weights(weights: np.ndarray) -> np.ndarray:
    """The weights as float64 (N,), divided by the largest.

    Raises:
        UsageError: if one is negative, infinite or not a number, or if all are zero.
    """
    values = np.asarray(weights, np.float64)
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(bad):
        raise UsageError(
            f"clip {bad[0]} has the weight {values[bad[0]]}; a weight must be at least 0 and finite "
            f"({len(bad)} of {len(values)} are not)"
        )
    largest = values.max(initial=0.0)
    if largest == 0:
        raise UsageError(f"all {len(values)} clips have the weight 0, so that there is nothing to draw from")
    return values / largest


def duration_weights(durations: np.ndarray) -> np.ndarray:
    """Weights under which every second of sound is equally likely: the durations (N,), in seconds.

    Raises:
        UsageError: if a duration is not known (NaN).
    """
    unknown = int(np.count_nonzero(np.isnan(durations)))
    if unknown:
        raise UsageError(
            f"{unknown} of {len(durations)} clips have no known duration, so they cannot be sampled by duration; "
            "scan them first with `byol-a scan DIR --out INDEX` and give the index"
        )
    return np.asarray(durations, np.float64)
