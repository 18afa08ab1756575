"""One writer at a time: a lock that lasts as long as the process that holds it, and no longer."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO
from weakref import WeakSet

from byol_a.errors import UsageError

# Workers that a killed writer did not fork hold its lock until they notice, which takes them a moment.
PATIENCE_SECONDS = 5.0
_LOOK_EVERY = 0.05


class WriterLock:
    """Keeps other processes from writing to the same place; a context manager.

    The lock goes with the process, however that ends; workers that it forked have no part in it. Where the system or
    the file system knows no locks, nothing is locked.

    Args:
        path: the lock's file; it is made, with its folder, and stays.
        refusal: the message where another process holds the lock.

    Raises:
        UsageError: on entering, if another process holds the lock and does not let go of it within some seconds.
    """

    def __init__(self, path: str | os.PathLike[str], refusal: str) -> None:
        self.path, self.refusal = Path(path), refusal
        self._file: IO[bytes] | None = None

    def __enter__(self) -> WriterLock:
        try:
            import fcntl
        except ImportError:  # Windows
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return self
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._file is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                file = self.path.open("ab")
            except (FileNotFoundError, FileExistsError):  # its holder is just removing the folder
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK_EVERY)
                continue
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.close()
                if time.monotonic() > deadline:
                    raise UsageError(self.refusal) from error
                time.sleep(_LOOK_EVERY)
                continue
            except OSError:  # a file system without locks
                pass
            if self._is_there(file):
                self._file = file
                _HELD.add(self)
            else:  # whoever held the lock before has removed it meanwhile
                file.close()
        return self

    def _is_there(self, file: IO[bytes]) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            import fcntl

            # Closing would not do where a process that was forked meanwhile has a copy.
            with suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_UN)
            self._file.close()
            self._file = None
            _HELD.discard(self)

    def forget(self) -> None:
        """In a process that was forked: let go of the lock without unlocking it for the one that holds it."""
        if self._file is not None:
            self._file.close()
            self._file = None


_HELD: WeakSet[WriterLock] = WeakSet()


def _forget_all() -> None:
    for lock in list(_HELD):
        lock.forget()


if hasattr(os, "register_at_fork"):
    # A worker in the middle of long work would keep the lock of a writer that was killed.
    os.register_at_fork(after_in_child=_forget_all)
