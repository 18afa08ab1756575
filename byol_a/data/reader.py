"""A data worker: a process that reads batches of crops into memory it shares with the one that started it.

torch's DataLoader shares one queue and its locks between all workers, raises the death of one wherever the main
process happens to be, in the middle of a training step, and needs room in /dev/shm. Here each worker has a pipe and
memory of its own, so that one that is killed takes nothing with it and is noticed when its batch is due.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import multiprocessing
import pickle
import signal
import sys
import traceback
import weakref
from collections import deque
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any, NamedTuple

import torch
import torch.multiprocessing  # teaches multiprocessing to send tensors that are in shared memory
from torch import Tensor

from byol_a.data.crops import Key, Problems, RandomCrops
from byol_a.errors import ByolaError

# A forked worker shares the index of millions of files; any other would get a copy of its own.
START_METHOD = "fork" if sys.platform.startswith("linux") else "spawn"
_PATIENCE_SECONDS = 5.0


class WorkerDied(Exception):
    """A worker ended before it answered. `reading` is the file that it had in hand, where that is known."""

    def __init__(self, how: str, reading: str | None) -> None:
        super().__init__(how)
        self.reading = reading


class _Slot(NamedTuple):
    """Memory of one batch, shared between a worker and the main process."""

    keys: Tensor  # (B, 3) int64: epoch, index, repeat
    waves: Tensor  # (B, S) int16
    place: Tensor  # () int64: the crop being read, where the worker was asked to say so; -1 otherwise


class Reader:
    """One worker process. It answers batches in the order in which they were asked for.

    Args:
        crops: what it reads.
        batch_size: B, the most crops of one batch.
        ahead: the most batches that are asked for and not taken.

    Raises:
        ByolaError: if no process can be started.
    """

    def __init__(self, crops: RandomCrops, batch_size: int, ahead: int) -> None:
        self._crops = crops
        self._slots = [
            _Slot(
                _shared((batch_size, 3), torch.int64),
                _shared((batch_size, crops.crop_samples), torch.int16),
                _shared((), torch.int64),
            )
            for _ in range(ahead)
        ]
        self._free = deque(range(ahead))
        self._asked: deque[tuple[int, int]] = deque()  # (slot, crops) of the batches that were not taken
        self._start()

    def ask(self, keys: list[Key]) -> None:
        """Ask for a batch."""
        number = self._free.popleft()
        slot = self._slots[number]
        slot.keys[: len(keys)] = torch.tensor([key if len(key) == 3 else (*key, 0) for key in keys])
        self._asked.append((number, len(keys)))
        self._send(number, len(keys))

    def take(self) -> tuple[Tensor, Problems]:
        """The oldest batch asked for: int16 (B, S), which the next `ask` may overwrite, and what was passed over.

        Raises:
            WorkerDied: if there is no answer; the batch is still asked for.
            Exception: whatever reading it raised.
        """
        try:
            outcome = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._died() from error
        number, count = self._asked.popleft()
        self._free.append(number)
        if isinstance(outcome, _Raised):
            raise outcome.error from outcome.cause()
        return self._slots[number].waves[:count], outcome

    def restart(self) -> None:
        """Put a new process in the place of the one that died; it reads what was asked for and not answered."""
        self._start()
        for which, (number, count) in enumerate(self._asked):
            # What killed a worker may be in the first batch: the new one says how far it gets with it.
            self._send(number, count, say_place=which == 0)

    def end(self) -> None:
        """End the process, whatever it is doing: it has nothing to lose."""
        self._finalizer()

    def _start(self) -> None:
        context: Any = multiprocessing.get_context(START_METHOD)
        self._connection, theirs = context.Pipe()
        _ENDS.add(self._connection)
        process = context.Process(target=_serve, args=(self._crops, self._slots, theirs), daemon=True)
        try:
            process.start()
        except OSError as error:
            raise ByolaError(f"no data worker could be started ({error.strerror}); take fewer data.workers") from error
        finally:
            theirs.close()  # or else its end would not be noticed
        self._process = process
        # Before multiprocessing, at exit, waits for workers that ignore its SIGTERM.
        self._finalizer = Finalize(self, _end, args=(process, self._connection), exitpriority=100)

    def _send(self, number: int, count: int, say_place: bool = False) -> None:
        self._slots[number].place.fill_(-1)
        with contextlib.suppress(OSError):  # it has died, which `take` will find
            self._connection.send((number, count, say_place))

    def _died(self) -> WorkerDied:
        self._process.join(_PATIENCE_SECONDS)
        code = self._process.exitcode
        self.end()
        number, _ = self._asked[0]
        place = int(self._slots[number].place)
        reading = self._crops.clips.name(int(self._slots[number].keys[place, 1])) if place >= 0 else None
        return WorkerDied(_describe(code), reading)


class _Raised(NamedTuple):
    """What reading a batch raised, and where, in words."""

    error: Exception
    trace: str

    def cause(self) -> Exception | None:
        return None if isinstance(self.error, ByolaError) else RuntimeError(f"in a data worker:\n{self.trace}")


# The main process's ends of all pipes: a worker is forked with copies, which would hide from it, and from the
# others, that the main process is gone.
_ENDS: weakref.WeakSet[Connection] = weakref.WeakSet()


def _shared(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    if START_METHOD == "fork":  # anonymous memory: containers often have next to nothing in /dev/shm
        return torch.frombuffer(mmap.mmap(-1, math.prod(shape) * dtype.itemsize), dtype=dtype).view(shape)
    return torch.zeros(shape, dtype=dtype).share_memory_()


def _describe(code: int | None) -> str:
    if code is None:
        return "closing its pipe"
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"signal {-code} ({signal.Signals(-code).name})"
    return f"signal {-code}"


def _end(process: Any, connection: Connection) -> None:
    connection.close()
    process.kill()
    process.join(_PATIENCE_SECONDS)  # a process that waits for a dead network drive cannot be ended


def _serve(crops: RandomCrops, slots: list[_Slot], connection: Connection) -> None:
    for end in list(_ENDS):
        end.close()
    # Ctrl-C, and what a job scheduler sends, reach the whole group: the main process still needs its batches.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
    with contextlib.suppress(EOFError, ConnectionError):  # the main process is gone
        while True:
            number, count, say_place = connection.recv()
            connection.send(_read(crops, slots[number], count, say_place))


def _read(crops: RandomCrops, slot: _Slot, count: int, say_place: bool) -> Problems | _Raised:
    keys: Any = list(map(tuple, slot.keys[:count].tolist()))
    try:
        if not say_place:
            _, problems = crops.batch(keys, slot.waves[:count])
            return problems
        found: dict[str, str] = {}
        for place, key in enumerate(keys):
            slot.place.fill_(place)
            _, problems = crops.batch([key], slot.waves[place : place + 1])
            found = {**dict(problems), **found}
        return list(found.items())
    except Exception as error:
        return _Raised(_portable(error), traceback.format_exc())


def _portable(error: Exception) -> Exception:
    """The error, or one that says the same, in a form that can be sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
