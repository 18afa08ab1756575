"""Runs of `byol-a pretrain` that a test starts, watches, kills and starts again.

They are forked from a server that has imported everything, so that dozens of them can be started in a test.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

IMPORTED = (
    "byol_a.cli.pretrain",
    "byol_a.training.pretrain",
    "byol_a.encoders.audiontt",
    "byol_a.frontend.backends",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "pandas",
    "soundfile",
    "soxr",
    "torch._dynamo",  # which an optimiser's first step imports
)


def _server() -> Any:
    """The server that forks runs; it is started with the first of them."""
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*IMPORTED])
    # One thread each: tests share few cores, and thread counts are part of bit-identity.
    with mock.patch.dict(os.environ, OMP_NUM_THREADS="1"):
        forkserver.ensure_running()
    return context


def _run(arguments: list[str], output: Path, privileged: bool) -> None:
    os.setsid()
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(output / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if not privileged:
        obey_permissions()
    from byol_a.cli import main

    main(["pretrain", *arguments])


def obey_permissions() -> None:
    """Give up what lets root read and write any file (CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH)."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, of the lower and of the upper 32
    if libc.capget(header, sets) == 0:
        for number in range(3):
            sets[number] &= ~0b110
        if libc.capset(header, sets) == 0:
            return
    raise OSError(ctypes.get_errno(), "cannot give up capabilities")


class Run:
    """One process of `byol-a pretrain ARGUMENTS`.

    Args:
        output: folder for what it says.
        arguments: of the command.
        privileged: False takes from root, if that is who runs it, the right to pass over permissions.
    """

    def __init__(self, output: Path, *arguments: object, privileged: bool = True) -> None:
        output.mkdir(exist_ok=True)
        self._output = output
        words = [str(argument) for argument in arguments]
        self._process = _server().Process(target=_run, args=(words, output, privileged))
        self._process.start()
        self.pid: int = self._process.pid

    @property
    def is_running(self) -> bool:
        return bool(self._process.is_alive())

    @property
    def stdout(self) -> str:
        return (self._output / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self._output / "stderr").read_text()

    @property
    def errors(self) -> list[str]:
        """The lines on standard error that say why the run ended."""
        assert "Traceback" not in self.stderr, self.stderr
        return [line for line in self.stderr.splitlines() if line.startswith("byol-a: error: ")]

    def workers(self) -> list[int]:
        """The processes that read its data."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except OSError:
            return []
        return [int(pid) for pid in children if _parent(Path("/proc") / pid)]

    def kill_worker(self, pid: int) -> None:
        """SIGKILL to a worker that may have ended meanwhile."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL, and wait until its data workers are gone too."""
        workers = self.workers()
        os.kill(self.pid, signal.SIGKILL)
        self.wait()
        wait_until(lambda: not any(_parent(Path(f"/proc/{pid}")) for pid in workers))

    def wait(self, timeout: float = 120) -> int:
        """The exit code; of a signal, the negative."""
        self._process.join(timeout)
        if self.is_running:  # multiprocessing would wait for it at exit
            self._process.kill()
            raise AssertionError(f"still running after {timeout} s: {self.stderr}")
        return int(self._process.exitcode)

    def succeed(self) -> Run:
        """Wait until it is done, and done well."""
        assert self.wait() == 0, self.stderr
        return self

    def fail(self) -> str:
        """Wait until it has failed, with exit code 1; returns the one sentence."""
        assert self.wait() == 1, self.stdout + self.stderr
        (error,) = self.errors
        return error


@contextlib.contextmanager
def watched(run: Run) -> Iterator[Run]:
    """The run, which does not outlive a test that fails."""
    try:
        yield run
    finally:
        if run.is_running:
            run.kill()


def wait_until(condition: Callable[[], bool], timeout: float = 60, pause: float = 0.001) -> None:
    """Look again and again, and give up with an error."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(pause)


def logged_steps(folder: Path) -> int:
    """How many steps a run has written to its metrics."""
    with contextlib.suppress(FileNotFoundError):
        return (folder / "metrics.jsonl").read_bytes().count(b"\n")
    return 0


def _parent(process: Path) -> int:
    """The parent's id; 0 where there is no such process any more, or nothing but its exit code."""
    try:
        state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return 0
    return 0 if state == "Z" else int(parent)
