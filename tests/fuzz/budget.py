"""How many examples a fuzz test tries, and what it may use up: time and memory.

Each test states its own number, the same examples on every run. `BYOL_A_FUZZ=20000 pytest tests/fuzz/test_reader.py`
tries that many in each test instead, different ones every time.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TypeVar

from hypothesis import HealthCheck, Phase, settings

Test = TypeVar("Test", bound=Callable[..., object])

EXAMPLES = int(os.environ.get("BYOL_A_FUZZ", "0"))
SECONDS = 20  # far more than any example takes, even on a busy machine
SPARE_MEMORY = 1 << 30


def fuzz(examples: int) -> Callable[[Test], Test]:
    """Settings of a test of `examples` examples, or as many as `BYOL_A_FUZZ` says."""
    return settings(
        max_examples=EXAMPLES or examples,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        print_blob=True,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def time_limit(seconds: int = SECONDS) -> Iterator[None]:
    """Fails what goes on for longer; where it hangs in C code, ends the whole test run with a traceback."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"still at it after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(3 * seconds, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def memory_limit(spare: int = SPARE_MEMORY) -> Iterator[None]:
    """Lets the process ask for `spare` more bytes at once, used or not; without effect where there is no /proc."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        yield
        return
    used = int(statm.read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = used + spare
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    try:
        yield
    finally:
        with suppress(ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
