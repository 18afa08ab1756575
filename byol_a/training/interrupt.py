"""SIGINT and SIGTERM as a wish to stop after the step in hand, not as a blow."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from byol_a.errors import ByolaError


class Interrupted(ByolaError):
    """A run stopped because a signal asked for it; everything is saved. Exit code 128 + signal, as shells expect."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class StopSignals:
    """While active, `number` is the signal that asked to stop (0: none yet). A second one ends at once."""

    def __init__(self) -> None:
        self.number = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        # Python lets only the main thread set handlers; elsewhere signals do what they did before.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
