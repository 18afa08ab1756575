"""Windows over audio: which there are in a file, and their samples while the file is read."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from byol_a.errors import UsageError


@dataclass(frozen=True)
class Windows:
    """Windows of `size` samples every `hop` samples."""

    size: int
    hop: int

    def spans(self, n_samples: int) -> list[tuple[int, int]]:
        """First and last (exclusive) sample of each window of a file."""
        spans = [(start, start + self.size) for start in range(0, n_samples - self.size + 1, self.hop)]
        start = len(spans) * self.hop
        unseen = not spans or spans[-1][1] < n_samples
        if not spans or (unseen and n_samples - start >= self.size / 2):
            spans.append((start, n_samples))
        return spans


def check_windows(level: str, window: float | None, hop: float | None) -> None:
    """See that what is asked for goes together: rows per clip or frame, and the window and its hop in seconds.

    Raises:
        UsageError: if it does not, or a length is not positive.
    """
    if level not in ("clip", "frame"):
        raise UsageError(f"the level is clip or frame, not {level!r}")
    if window is None:
        if hop is not None:
            raise UsageError("a hop needs a window: give --window as well")
        return
    if level == "frame":
        raise UsageError("frames have their own length: --window goes with --level clip")
    if not all(0 < seconds < math.inf for seconds in (window, window if hop is None else hop)):
        raise _not_lengths(window, hop)


def windows_for(level: str, window: float | None, hop: float | None, sample_rate: int) -> Windows | None:
    """The windows asked for, at a sample rate; None for whole clips and for frames.

    Raises:
        UsageError: as `check_windows`, and if a length is less than a sample.
    """
    check_windows(level, window, hop)
    if window is None:
        return None
    size, step = round(window * sample_rate), round((window if hop is None else hop) * sample_rate)
    if size < 1 or step < 1:
        raise _not_lengths(window, hop)
    return Windows(size, step)


def windowed(
    blocks: Iterable[np.ndarray], spans: Iterable[tuple[int, int]]
) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """Each span (first, last + 1) of a signal with a copy of its samples, holding little more than one window."""
    blocks = iter(blocks)
    held: deque[np.ndarray] = deque()
    origin = reached = 0  # the samples held are those from `origin` to `reached`
    for start, end in spans:
        while True:
            while held and origin + len(held[0]) <= start:
                origin += len(held.popleft())
            if reached >= end or (block := next(blocks, None)) is None:
                break
            held.append(block)
            reached += len(block)
        pieces, first = [np.zeros(0, np.float32)], origin
        for block in held:
            pieces.append(block[max(0, start - first) : max(0, end - first)])
            first += len(block)
        yield (start, end), np.concatenate(pieces)  # a view would keep whole blocks in memory


def _not_lengths(window: float, hop: float | None) -> UsageError:
    return UsageError(f"window and hop must be positive lengths in seconds, not {window} and {hop}")
