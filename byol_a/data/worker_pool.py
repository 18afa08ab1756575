"""Work on many items in processes that may die: a decoder that crashes costs the one item that made it crash."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.util import Finalize
from typing import Any, Generic, TypeVar

from byol_a.errors import ByolaError, UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")

BEAT_SECONDS = 0.5  # how often the caller gets to see to other things
_LOOK_FOR_PARENT_SECONDS = 0.5
_PATIENCE_SECONDS = 5.0
_FAILED_STARTS = 3


@dataclass(frozen=True)
class Failure:
    """Stands for the result of an item on which the function raised an error or its process died.

    `crashed`: it was the process that died, twice. `reason`: the error in words.
    """

    reason: str
    crashed: bool = False


@dataclass
class _Chunk(Generic[Item]):
    items: list[Item]
    is_suspect: bool = False  # a single item that was in hand when a process died


def available_cores() -> int:
    """How many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_chunks(
    function: Callable[[Item], Result], chunks: Iterable[list[Item]], workers: int | None = None
) -> Generator[tuple[list[Item], list[Result | Failure]], None, None]:
    """Apply `function` to every item of every chunk, in worker processes; chunks come back as they are finished.

    When a process dies over a chunk, each of its items is tried again alone, in a fresh process, and what kills that
    one too gets a `Failure`. Whenever nothing was finished for `BEAT_SECONDS`, a pair of empty lists is yielded, so
    that the caller can save, or stop: closing the iterator ends the processes at once.

    Args:
        function: a function of a module, so that it can be sent to processes that are not forked.
        chunks: taken as they are needed. A chunk is what is lost when the iterator is closed early.
        workers: number of processes; as many as there are cores for this process if None.

    Raises:
        UsageError: for less than one worker.
        ByolaError: if no process can be started.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers cannot do anything; give at least 1")
    pool = _Pool(function, chunks)
    try:
        yield from pool.run(workers or available_cores())
    finally:
        pool.kill()


class _Pool(Generic[Item, Result]):
    def __init__(self, function: Callable[[Item], Result], chunks: Iterable[list[Item]]) -> None:
        # Forking is quick and needs no importable __main__. The workers touch nothing that has threads.
        method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
        self._context: Any = multiprocessing.get_context(method)
        self._function = function
        self._chunks = map(_Chunk, chunks)
        self._again: deque[_Chunk[Item]] = deque()
        self._busy: dict[Connection, tuple[_Worker, _Chunk[Item]]] = {}
        self._idle: list[_Worker] = []
        self._failed_starts = 0

    def run(self, workers: int) -> Iterator[tuple[list[Item], list[Result | Failure]]]:
        while True:
            while len(self._busy) < workers and (chunk := self._next_chunk()) is not None:
                is_fresh = chunk.is_suspect or not self._idle
                worker = _Worker(self._context, self._function) if is_fresh else self._idle.pop()
                worker.give(chunk.items)
                self._busy[worker.connection] = worker, chunk
            if not self._busy:
                return
            ready = wait(list(self._busy), timeout=BEAT_SECONDS)
            if not ready:
                yield [], []
            for connection in ready:
                yield from self._hear(connection)  # type: ignore[arg-type]

    def _next_chunk(self) -> _Chunk[Item] | None:
        return self._again.popleft() if self._again else next(self._chunks, None)

    def _hear(self, connection: Connection) -> Iterator[tuple[list[Item], list[Result | Failure]]]:
        worker, chunk = self._busy[connection]
        try:
            message = connection.recv()
        except (EOFError, OSError):
            del self._busy[connection]
            yield from self._bury(worker, chunk)
            return
        if message is None:  # it has begun
            worker.has_begun, self._failed_starts = True, 0
        else:
            del self._busy[connection]
            if chunk.is_suspect:
                worker.end()
            else:
                self._idle.append(worker)
            yield chunk.items, message

    def _bury(self, worker: _Worker, chunk: _Chunk[Item]) -> Iterator[tuple[list[Item], list[Result | Failure]]]:
        code = worker.end()
        if not worker.has_begun:
            self._failed_starts += 1
            if self._failed_starts >= _FAILED_STARTS:
                raise ByolaError(
                    f"worker processes end with code {code} before they begin; call this from under "
                    '`if __name__ == "__main__":`, and see whether there is memory left'
                )
            self._again.append(chunk)
        elif chunk.is_suspect:
            yield chunk.items, [Failure(f"the process ended with code {code}", crashed=True)]
        else:
            self._again.extend(_Chunk([item], is_suspect=True) for item in chunk.items)

    def kill(self) -> None:
        for worker in [*self._idle, *(worker for worker, _ in self._busy.values())]:
            worker.end()


class _Worker:
    """A process that answers each chunk with its results, and the end of the pipe to it."""

    def __init__(self, context: Any, function: Callable[[Any], Any]) -> None:
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, function, os.getpid()), daemon=True)
        self._process.start()
        theirs.close()
        self.has_begun = False
        # Before multiprocessing, at exit, waits for workers that ignore its SIGTERM.
        self._finalizer = Finalize(self, _end, args=(self._process, self.connection), exitpriority=100)

    def give(self, items: list[Any]) -> None:
        with contextlib.suppress(OSError):  # if it has died, that is noticed when it is listened to
            self.connection.send(items)

    def end(self) -> int | None:
        """End the process, if it has not ended; returns its exit code (of a signal, the negative)."""
        self._finalizer()
        code: int | None = self._process.exitcode
        return code


def _end(process: Any, connection: Connection) -> None:
    process.kill()
    process.join(_PATIENCE_SECONDS)  # a process that waits for a dead network drive cannot be ended
    connection.close()


def _serve(connection: Connection, function: Callable[[Any], Any], parent: int) -> None:
    # Signals reach a whole process group; what they mean is for the parent to decide.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # A parent that was killed leaves no sign on the pipe, of whose end other workers hold copies.
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        connection.send(None)
        while True:
            connection.send([_attempt(function, item) for item in connection.recv()])


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_FOR_PARENT_SECONDS)
    os._exit(1)


def _attempt(function: Callable[[Any], Any], item: Any) -> Any:
    try:
        return function(item)
    except Exception as error:
        return Failure(f"{type(error).__name__}: {error}")
