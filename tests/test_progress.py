"""Progress: plain lines in a pipe, a bar in a terminal, an honest rate."""

from __future__ import annotations

import io

import pytest

from byol_a.progress import Progress, format_bytes, format_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.4, "59s"), (61, "1m01s"), (3599, "59m59s"), (11220, "3h07m"), (-1, "0s")],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_pipe_gets_plain_lines_with_rate_and_time_left() -> None:
    stream = io.StringIO()
    with Progress("reading", total=4, unit="file", interval=0, stream=stream) as progress:
        for _ in range(4):
            progress.advance(bad=1)
    lines = stream.getvalue().splitlines()
    assert lines[1].startswith("reading 2/4  bad 1  ")
    assert "files/s" in lines[1]
    assert lines[1].endswith("left")
    assert "\x1b" not in stream.getvalue()


def test_work_done_before_does_not_count_for_the_rate() -> None:
    with Progress("x", total=100, start=90, stream=io.StringIO()) as progress:
        progress._began -= 10.0
        progress.advance(5)
        assert progress.done == 95
        assert 0.4 < progress.rate < 0.6


def test_disabled_says_nothing() -> None:
    stream = io.StringIO()
    with Progress("x", total=1, enabled=False, interval=0, stream=stream) as progress:
        progress.advance()
        progress.write("line")
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with Progress("reading", total=2, stream=stream) as progress:
        progress.advance(2)
    assert "reading 2/2" in stream.getvalue()


def test_bytes_are_readable() -> None:
    sizes = [0, 999, 1000, 999_499, 999_600, 123_456_789, 4_000_000_000, 1_250_000_000_000, 5e15]
    expected = ["0 bytes", "999 bytes", "1 kB", "999 kB", "1 MB", "123 MB", "4 GB", "1.25 TB", "5000 TB"]
    assert [format_bytes(size) for size in sizes] == expected
