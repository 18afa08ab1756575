"""The watch that the processes of a job keep over each other: none dies, hangs or fails without all of them ending."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from byol_a.errors import ByolaError
from byol_a.training.ending import (
    Failure,
    ProcessFailed,
    StoppedByPeer,
    end_process,
    ignore_termination,
    sentence,
    tell_launcher,
)

if TYPE_CHECKING:
    import torch.distributed as dist

BEAT_SECONDS = 1.0
SILENCE_SECONDS = 40.0  # a job ends within a minute of what befalls one process, and none is ever busy for so long
GONE_SECONDS = 4.0  # once some process was left in the lurch, this much silence shows by whom
GRACE_SECONDS = 2.0  # what fails everywhere fails everywhere within this time

BEAT, FAILED, CAUSE, ALARM = "beat", "failed", "cause", "alarm"
NONE, DONE = b"", b"done"


class Liveness:
    """One process's part of the watch, a thread that shows and looks for signs of life every second.

    The main process watches all others, and the others watch the main process: the store serves a number of requests
    that grows with the number of processes, not with its square. A process that fails tells the store why, before it
    ends; one that was killed or hangs is given away by its silence. Then every process ends with one sentence that
    names the first cause, even from within a collective call that waits for the dead for ever. Silence is counted in
    looks, not in seconds, so that a machine that slept as a whole does not take its peers for dead when it wakes.

    Args:
        store: shared by the processes of this start of the job; this object's own connection.
        rank: this process's rank.
        world_size: processes in all.
        host: this machine's name.
        node: see `byol_a.training.ending.Failure`.
        silence: seconds without a sign of life after which a process counts as dead.
        beat: seconds between two signs of life.
        end: ends this process at once, having said the sentence it is given.
    """

    def __init__(
        self,
        store: dist.Store,
        rank: int,
        world_size: int,
        host: str,
        node: str,
        silence: float = SILENCE_SECONDS,
        beat: float = BEAT_SECONDS,
        end: Callable[[str], None] | None = None,
    ) -> None:
        self.rank, self.world_size = rank, world_size
        self._store, self._host, self._node = store, host, node
        self._silence, self._beat, self._end = silence, beat, end or end_process
        self._looks: dict[int, tuple[bytes, int]] = {}  # by rank: the last sign of life, and looks in vain since
        self._begun: set[int] = set()
        self._accuser = False
        self._over = threading.Event()
        self._leaving = threading.Event()  # the main thread knows that the job ends, and says why
        self._rounds = 0  # of the watch, completed
        self._thread = threading.Thread(target=self._run, name="liveness", daemon=True)
        self._guard = threading.Thread(target=self._guard_watch, name="liveness-guard", daemon=True)

    def start(self) -> None:
        """Show that this process lives, and begin to watch."""
        self._store.set(f"who/{self.rank}", json.dumps([self._host, self._node, os.getpid()]))
        self._store.set(f"{BEAT}/{self.rank}", "0")
        self._thread.start()
        self._guard.start()

    def finish(self, wait_for_others: bool = False) -> None:
        """Leave in good order; with `wait_for_others` (who need the store that goes with this process) as the last."""
        self._over.set()
        self._thread.join(self._silence)
        if self._thread.is_alive():  # it waits for a store that does not answer any more
            return
        with contextlib.suppress(RuntimeError):
            self._store.set(f"{BEAT}/{self.rank}", DONE.decode())
            if wait_for_others:
                self._wait_until(lambda: set(self._signs(self._peers()).values()) == {DONE}, self._silence)

    def verdict(self, error: BaseException) -> BaseException:
        """What this process is to end with, where it met `error`, which its peers may have met or caused.

        Returns:
            `error` itself in the main process if it happened everywhere; `SystemExit`, which says nothing, in the
            other processes then; an error that names this process if it happened here alone; and one that names the
            first cause if this process was left in the lurch by another.
        """
        self._leaving.set()
        ignore_termination()
        began = time.time()
        try:
            cause = self._inquire() if _may_be_a_consequence(error) else None
            if cause is not None:
                return self._told(StoppedByPeer(self._stop_for(cause)), time.time())
            return self._own(error, began)
        except RuntimeError:
            if _may_be_a_consequence(error):
                return self._told(StoppedByPeer(self._cut_off()), began)
            return error

    def _own(self, error: BaseException, began: float) -> BaseException:
        """See `verdict`, for an error that no other process has caused."""
        code = getattr(error, "exit_code", 130 if isinstance(error, KeyboardInterrupt) else 1)
        what = f"failed: {sentence(error)}"
        if not isinstance(error, (ByolaError, OSError, KeyboardInterrupt)):
            what += " (run again with --debug for the traceback)"
        failure = Failure(self.rank, self._host, self._node, what, told=True, pid=os.getpid())
        self._store.set(f"{FAILED}/{self.rank}", "")
        self._post(failure)
        others = [f"{FAILED}/{rank}" for rank in (self._peers() if self.rank == 0 else [0])]
        if self._wait_until(lambda: self._store.check(others), GRACE_SECONDS):
            tell_launcher(sentence(error), began)
            return error if self.rank == 0 else SystemExit(code)
        # Once this process ends, its launcher ends the others: by then they have said why.
        time.sleep(2 * self._beat)
        return self._told(ProcessFailed(str(failure), code), began)

    def _inquire(self) -> Failure | None:
        """The failure that left this process in the lurch, if there was one."""
        self._store.set(ALARM, "")
        if not self._wait_until(lambda: self._store.check([CAUSE]), 2 * GONE_SECONDS):
            return None
        if self._accuser:  # the store may end with this process's launcher: the others must have read it before
            time.sleep(2 * self._beat)
        return self._cause()

    def _run(self) -> None:
        beats = 0
        try:
            while not self._over.wait(self._beat):
                beats += 1
                self._store.set(f"{BEAT}/{self.rank}", str(beats))
                if self._store.check([CAUSE]):
                    if not self._leaving.wait(GRACE_SECONDS) and not self._over.is_set():
                        self._end(self._stop_for(self._cause()))
                        return
                elif (failure := self._look()) is not None:
                    self._post(failure)
                self._rounds += 1
        except Exception as error:  # RuntimeError is what the store raises
            if not self._leaving.wait(GRACE_SECONDS) and not self._over.is_set():
                known = isinstance(error, RuntimeError)
                self._end(
                    self._cut_off() if known else f"process {self.rank} cannot watch its peers: {sentence(error)}"
                )

    def _guard_watch(self) -> None:
        """See to it that the watch itself goes on: a store whose machine is gone neither answers nor raises.

        It ends the process even while that is leaving: the main thread may wait for the store as well.
        """
        rounds, looks = -1, 0
        while not self._over.wait(self._beat) and self._thread.is_alive():
            rounds, looks = self._rounds, looks + 1 if self._rounds == rounds else 0
            if looks >= math.ceil((self._silence + GRACE_SECONDS) / self._beat):
                self._end(self._cut_off())
                return

    def _look(self) -> Failure | None:
        """Look once at the signs of life of those this process watches."""
        patience = min(GONE_SECONDS, self._silence) if self._store.check([ALARM]) else self._silence
        signs = self._signs(self._peers() if self.rank == 0 else [0])
        for rank, sign in signs.items():
            last, looks = self._looks.get(rank, (NONE, 0))
            self._looks[rank] = sign, looks + 1 if sign == last and sign != DONE else 0
            if self._looks[rank][1] >= math.ceil(patience / self._beat):
                return self._silent(rank, sign)
        return None

    def _silent(self, rank: int, sign: bytes) -> Failure:
        if sign == NONE:
            return Failure(rank, "", "", "shows no sign of life", told=False)
        host, node, pid = json.loads(self._store.get(f"who/{rank}"))
        if node != self._node:
            fate = "it was killed, hangs or is cut off"
        else:
            fate = "it hangs" if _is_running(pid) else "it was killed or crashed"
        return Failure(rank, host, node, f"(pid {pid}) shows no sign of life: {fate}", told=False, pid=pid)

    def _peers(self) -> list[int]:
        return [rank for rank in range(self.world_size) if rank != self.rank]

    def _signs(self, ranks: list[int]) -> dict[int, bytes]:
        """The last sign of life of each process; `NONE` of one that has not begun."""
        self._begun.update(rank for rank in ranks if rank not in self._begun and self._store.check([f"{BEAT}/{rank}"]))
        begun = [rank for rank in ranks if rank in self._begun]
        signs = self._store.multi_get([f"{BEAT}/{rank}" for rank in begun]) if begun else []
        return dict.fromkeys(ranks, NONE) | dict(zip(begun, signs, strict=True))

    def _post(self, failure: Failure) -> None:
        """Tell all processes, if nobody has told them of another failure before."""
        text = json.dumps(asdict(failure))
        self._accuser = self._store.compare_set(CAUSE, "", text).decode() == text and not failure.told

    def _cause(self) -> Failure:
        return Failure(**json.loads(self._store.get(CAUSE)))

    def _stop_for(self, cause: Failure) -> str:
        """What to say when this process stops, having made sure that the one that was silent is dead.

        A launcher would wait half a minute for a process that hangs, and if it went on one day, it might write over
        what its successor has written.
        """
        if cause.rank == self.rank:
            return (
                f"process {self.rank} stopped, because the others saw no sign of life from it for {self._silence:g} s"
            )
        beside = cause.node == self._node
        if beside and not cause.told and cause.pid not in (0, os.getpid()):
            with contextlib.suppress(OSError):
                os.kill(cause.pid, signal.SIGKILL)
        # What the process itself says need not be said again beside it.
        reason = f"{cause.who} failed" if beside and cause.told else str(cause)
        return f"process {self.rank} stopped, because {reason}"

    def _cut_off(self) -> str:
        return f"process {self.rank} stopped, because the job's main process or its node has ended or is cut off"

    def _told(self, error: ByolaError, when: float) -> ByolaError:
        tell_launcher(str(error), when)
        return error

    def _wait_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        for _ in range(math.ceil(seconds / self._beat * 4)):
            if condition():
                return True
            time.sleep(self._beat / 4)
        return condition()


def _may_be_a_consequence(error: BaseException | None) -> bool:
    """Whether `error` may come from a collective call that lost a partner: torch has no type of its own for that."""
    import torch

    if error is None or isinstance(error, torch.OutOfMemoryError):
        return False
    return isinstance(error, RuntimeError) or _may_be_a_consequence(error.__cause__)


def _is_running(pid: int) -> bool:
    """Whether there is such a process on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # there is, and it is somebody else's
        return True
    return True
