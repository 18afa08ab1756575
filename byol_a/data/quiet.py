"""Keeping a decoder's complaints off standard error while it works."""

from __future__ import annotations

import os
import threading


class QuietStderr:
    """Drops what C code writes to standard error while any thread is within it.

    libmpg123 complains there of every damaged header and of every seek into the middle of a stream;
    libsndfile leaves no way to silence it. Standard error belongs to the whole process: the first thread
    to enter turns it away and the last one to leave turns it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._kept: int | None = None  # a copy of standard error while it is turned away
        if hasattr(os, "register_at_fork"):
            # A data worker may be forked in the middle of this, without the threads that would turn it back.
            os.register_at_fork(
                before=self._lock.acquire, after_in_parent=self._lock.release, after_in_child=self._start_afresh
            )

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._turn_away()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._turn_back()

    def _turn_away(self) -> None:
        try:
            kept = os.dup(2)
        except OSError:  # there is no standard error
            return
        try:
            nothing = os.open(os.devnull, os.O_WRONLY)
        except OSError:  # no more files can be opened: the complaints are heard
            os.close(kept)
            return
        os.dup2(nothing, 2)
        os.close(nothing)
        self._kept = kept

    def _turn_back(self) -> None:
        if self._kept is not None:
            os.dup2(self._kept, 2)
            os.close(self._kept)
            self._kept = None

    def _start_afresh(self) -> None:
        self._inside = 0
        self._turn_back()
        self._lock.release()


quiet_stderr = QuietStderr()
