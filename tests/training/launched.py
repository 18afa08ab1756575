"""`torchrun` as a process of its own, whose workers a test can find and hurt."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .small import environment

PROCESSES = Path("/proc")
DEADLINE = 120.0


class Launched:
    """A running `torchrun`, two workers on this machine unless `options` say otherwise.

    As a context manager it leaves nothing running behind.
    """

    def __init__(self, *arguments: object, options: tuple[str, ...] = ("--standalone",), workers: int = 2, **env: str):
        self._output = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        command = [sys.executable, "-m", "torch.distributed.run", *options, "--nproc-per-node", str(workers)]
        self._process = subprocess.Popen(
            [*command, *(str(argument) for argument in arguments)],
            env=environment() | env,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Launched:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self._children(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait(20)
        self._output.close()

    @property
    def output(self) -> str:
        """All that it and its workers have printed."""
        self._output.seek(0)
        return self._output.read()

    @property
    def errors(self) -> list[str]:
        """The lines that the workers print as errors."""
        return [line for line in self.output.splitlines() if line.startswith("byol-a: error:")]

    def wait(self, seconds: float = DEADLINE) -> int:
        """Its exit code, within `seconds`."""
        return self._process.wait(seconds)

    def wait_until(self, condition: Callable[[], bool], seconds: float = DEADLINE) -> None:
        """Wait while it runs, until something has happened."""
        end = time.monotonic() + seconds
        while not condition():
            assert self._process.poll() is None, self.output
            assert time.monotonic() < end, self.output
            time.sleep(0.01)

    def wait_for_step(self, run: Path, step: int) -> None:
        """Wait until a run has logged this many steps."""
        metrics = run / "metrics.jsonl"
        self.wait_until(lambda: metrics.exists() and metrics.read_text().count("\n") >= step)

    def workers(self) -> dict[int, int]:
        """The process ids of its workers by rank."""
        found = {}
        for pid in self._children(self._process.pid):
            for variable in (PROCESSES / str(pid) / "environ").read_bytes().split(b"\0"):
                if variable.startswith(b"RANK="):
                    found[int(variable.removeprefix(b"RANK="))] = pid
        return found

    def descendants(self) -> set[int]:
        """The process ids of its workers and of the processes that these have started."""
        workers = self._children(self._process.pid)
        return {*workers, *(pid for worker in workers for pid in self._children(worker))}

    @staticmethod
    def _children(parent: int) -> list[int]:
        found = []
        for stat in PROCESSES.glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                # pid (name) state parent ...; the name may hold anything
                if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                    found.append(int(stat.parent.name))
        return found


def is_running(pid: int) -> bool:
    """Whether a process exists and is not merely waiting to be buried."""
    try:
        return (PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
