"""SIGINT and SIGTERM as a wish to stop after the step in hand, not as a blow."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

from byol_a.errors import ByolaError


class Interrupted(ByolaError):
    """A run stopped because a signal asked for it; everything is saved. Exit code 128 + signal, as shells expect."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


# A launcher and a job scheduler may both pass one wish on: repeats within this many seconds are the same wish.
SAME_WISH_SECONDS = 2.0


class StopSignals:
    """While active, `number` is the signal that asked to stop (0: none yet). A later second one ends at once.

    Args:
        past_errors: whether to stay active when an error ends the block. A launcher that sees one process die asks the
            others to end; they are to say first why.
    """

    def __init__(self, past_errors: bool = False) -> None:
        self.number = 0
        self._past_errors = past_errors
        self._asked_at = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        # Python lets only the main thread set handlers; elsewhere signals do what they did before.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if not self.number:
            self.number, self._asked_at = number, time.monotonic()
        elif time.monotonic() - self._asked_at > SAME_WISH_SECONDS:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or not self._past_errors:
            self._restore()


@contextlib.contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Inside, SIGINT and SIGTERM end the work where it stands; either leaves as `Interrupted` with `message`.

    For work whose every output is whole or not there. What catches signals inside, such as training, still does.
    """
    asked: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        raise KeyboardInterrupt  # unlike an `Exception`, nobody takes it for a failure of what is under way

    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(message, asked[0] if asked else signal.SIGINT) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
