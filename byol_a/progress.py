"""Progress with a rate and the time left: a live bar in a terminal, plain lines in a pipe or a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, TextIO


def format_duration(seconds: float) -> str:
    """Seconds as `4s`, `2m05s` or `3h07m`."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"


def format_bytes(count: float) -> str:
    """Bytes as `512 bytes`, `3.4 kB`, `120 MB` or `1.25 TB`, in powers of 1000."""
    if count < 1000:
        return f"{count:.0f} bytes"
    units = ["kB", "MB", "GB", "TB"]
    count /= 1000
    while count >= 999.5 and len(units) > 1:
        count /= 1000
        del units[0]
    return f"{count:.3g} {units[0]}" if count < 999.5 else f"{count:.0f} {units[0]}"


class Progress:
    """Counts units of work and says how fast they pass and when the last will.

    Args:
        description: what is being done ("embedding").
        total: units in all; None if unknown.
        unit: name of one unit, for the rate ("file" gives "12.3 files/s").
        enabled: False says nothing; None means True.
        start: units already done before this process began; they do not count for the rate.
        interval: seconds between two plain lines (a terminal's bar is redrawn as needed).
        stream: where to write; standard error by default.
    """

    def __init__(
        self,
        description: str,
        total: int | None = None,
        unit: str = "file",
        enabled: bool | None = None,
        start: int = 0,
        interval: float = 10.0,
        stream: TextIO | None = None,
    ) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.enabled = enabled is not False
        self.done = self._start = start
        self._interval = interval
        self._stream = stream if stream is not None else sys.stderr
        self._fields: dict[str, Any] = {}
        self._live: Any = None
        self._began = self._last_line = time.monotonic()

    def __enter__(self) -> Progress:
        self._began = self._last_line = time.monotonic()
        if self.enabled and self._stream.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=self._stream), get_renderable=self._bar, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        elif self.enabled and kind is None and self.done > self._start:
            self._print_line()

    def advance(self, units: int = 1, **fields: Any) -> None:
        """Count `units` more as done; `fields` (name=text) are shown beside the count."""
        self.done += units
        self._fields.update(fields)
        if self.enabled and self._live is None and time.monotonic() - self._last_line >= self._interval:
            self._print_line()

    def write(self, line: str) -> None:
        """Print a line above the bar (or simply print it)."""
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False)
        elif self.enabled:
            print(line, file=self._stream, flush=True)

    @property
    def rate(self) -> float:
        """Units per second since this process began; 0 before the first."""
        elapsed = time.monotonic() - self._began
        return (self.done - self._start) / elapsed if elapsed > 0 else 0.0

    def describe(self) -> str:
        """The state in one line, as it is shown."""
        count = f"{self.done}/{self.total}" if self.total is not None else f"{self.done}"
        parts = [f"{self.description} {count}"]
        parts += [f"{name} {value}" for name, value in self._fields.items()]
        rate = self.rate
        parts.append(f"{rate:.3g} {self.unit}s/s" if rate < 1000 else f"{rate:.0f} {self.unit}s/s")
        if self.total is not None and rate > 0:
            parts.append(f"{format_duration((self.total - self.done) / rate)} left")
        return "  ".join(parts)

    def _print_line(self) -> None:
        self._last_line = time.monotonic()
        print(self.describe(), file=self._stream, flush=True)

    def _bar(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        row = Table.grid(padding=(0, 1))
        row.add_row(
            ProgressBar(total=self.total, completed=self.done, width=24, pulse=self.total is None),
            self.describe(),
        )
        return row
