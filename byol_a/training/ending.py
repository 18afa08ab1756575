"""Why and how a failed job ends: one sentence for its reader and for the launcher, and nothing left behind."""

from __future__ import annotations

import atexit
import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from byol_a.errors import ByolaError
from byol_a.words import one_line


@dataclass(frozen=True)
class Failure:
    """Why a job ends: the process it began with, and what became of it.

    Attributes:
        rank: the process's rank in the job.
        host: the name of its machine; empty if it never said.
        node: the launcher it belongs to: processes of one launcher print in one place, and know each other's ids.
        what: how the sentence goes on after "process 3 on HOST ".
        told: whether the process says so itself.
        pid: the process's id; 0 if it never said.
    """

    rank: int
    host: str
    node: str
    what: str
    told: bool
    pid: int = 0

    @property
    def who(self) -> str:
        """The subject of the sentence."""
        return f"process {self.rank} on {self.host}" if self.host else f"process {self.rank}"

    def __str__(self) -> str:
        return f"{self.who} {self.what}"


class ProcessFailed(ByolaError):
    """An error of one process of several, which it names; with the exit code of the error itself."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class StoppedByPeer(ByolaError):
    """This process could not go on without another, which it names."""


def sentence(error: BaseException) -> str:
    """What an error says, in one line."""
    text = one_line(error)
    if isinstance(error, ByolaError):
        return text
    name = "interrupted" if isinstance(error, KeyboardInterrupt) else type(error).__name__
    return f"{name}: {text}" if text else name


def end_process(message: str) -> None:
    """Say why and end at once, from any thread, whatever the others wait for."""
    with contextlib.suppress(OSError, ValueError):
        show_cursor = "\n\x1b[?25h" if sys.stderr.isatty() else ""  # which a progress bar hides
        # One write, as others may write to the same place at the same time.
        sys.stderr.write(f"{show_cursor}byol-a: error: {message}\n")
        sys.stderr.flush()
    tell_launcher(message, time.time())
    _end(1)


def end_at_exit(code: int) -> None:
    """Once all is said and the interpreter exits, end at once: a broken process group may never let go."""
    atexit.register(_end, code)


def ignore_termination() -> None:
    """Let a process that is ending say why: a launcher that saw another die asks all others to end at once."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def tell_launcher(message: str, when: float) -> None:
    """Leave `message` where `torchrun` looks for it, for its list of failed processes.

    Args:
        when: seconds since the epoch; the launcher takes the earliest for the root cause.
    """
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file:
        extra = {"py_callstack": message, "timestamp": str(int(when))}
        with contextlib.suppress(OSError):
            Path(file).write_text(json.dumps({"message": {"message": message, "extraInfo": extra}}), encoding="utf-8")


def _end(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    for child in multiprocessing.active_children():  # data workers would only notice after some seconds
        child.kill()
    os._exit(code)
