"""This process's place in a job of several, as `torchrun` or a scheduler wrote it into the environment."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from byol_a.errors import ByolaError, UsageError
from byol_a.training.ending import end_at_exit, sentence
from byol_a.training.liveness import SILENCE_SECONDS, Liveness
from byol_a.training.roll_call import PATIENCE, roll_call

if TYPE_CHECKING:
    import torch.distributed as dist

SILENCE_VARIABLE = "BYOL_A_SILENCE_SECONDS"


class Job:
    """What the processes of a job share before, beside and after the training itself: a store, and a watch.

    Attributes:
        rank: this process's rank; 0 is the main process.
        world_size: processes in all.
        local_rank: this process's rank on its machine.
        store: of this start of the job; None where there is one process.
    """

    def __init__(self) -> None:
        environment = os.environ
        self.rank, self.world_size = int(environment.get("RANK", "0")), int(environment.get("WORLD_SIZE", "1"))
        self.local_rank = int(environment.get("LOCAL_RANK", "0"))
        # The launcher's own store outlives its workers; otherwise the main process makes one, which ends with it.
        self._outlives = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        self._lasting: dist.Store | None = None
        self.store: dist.Store | None = None
        self._liveness: Liveness | None = None
        silence = _silence()
        if self._outlives or self.world_size > 1:
            self._lasting = _connect()
        if self._lasting is not None and self.world_size > 1:
            import torch.distributed as dist

            name = roll_call(self._lasting, self.rank, self.world_size)
            self.store = dist.PrefixStore(name, self._lasting)
            self._liveness = self._watch(name, silence)

    def _watch(self, name: str, silence: float) -> Liveness:
        """Begin to watch, over a connection of its own: a store waits for one thing at a time."""
        import torch.distributed as dist

        own = dist.TCPStore(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            timeout=timedelta(seconds=silence),
            wait_for_workers=False,
        )
        host = socket.gethostname()
        node = f"{host} {os.environ.get('GROUP_RANK', '')} {_process_namespace()}"
        liveness = Liveness(dist.PrefixStore(name, own), self.rank, self.world_size, host, node, silence)
        liveness.start()
        return liveness

    def decide(self, question: str, answer: Callable[[], bool]) -> bool:
        """The main process's answer, in every process. Each question may be asked once."""
        if self.store is None:
            return answer()
        key = f"decision/{question}"
        if self.rank == 0:
            self.store.set(key, str(answer()))
        self.store.wait([key], PATIENCE)
        return self.store.get(key) == b"True"

    def remember_run(self, folder: Path) -> None:
        """Note that this job has begun, or goes on with, the run in `folder`; for later starts of the job."""
        if self._lasting is not None and self.rank == 0:
            self._lasting.set(_run_key(folder), "")

    def remembers_run(self, folder: Path) -> bool:
        """Whether an earlier start of this job noted the run in `folder`."""
        return self._lasting is not None and self._lasting.check([_run_key(folder)])

    def finish(self) -> None:
        """Leave in good order."""
        if self._liveness is not None:
            self._liveness.finish(wait_for_others=self.rank == 0 and not self._outlives)

    def verdict(self, error: BaseException) -> BaseException:
        """What this process is to end with, where it met `error`; see `Liveness.verdict`."""
        if self._liveness is None:
            return error
        ending = self._liveness.verdict(error)
        end_at_exit(_exit_code(ending))
        return ending


_current: Job | None = None


@contextlib.contextmanager
def together() -> Iterator[Job]:
    """Do something as one process of the job: an error in one process ends all, and is said once.

    Within another `together` it does nothing: what an error means for the others is judged at the outermost place.

    Raises:
        BaseException: what came from within, in the words of `Liveness.verdict` if there are several processes.
    """
    global _current
    if _current is not None:
        yield _current
        return
    _current = job = Job()
    try:
        yield job
        job.finish()
    except BaseException as error:
        ending = job.verdict(error)
        if ending is error:
            raise
        raise ending from error
    finally:
        _current = None


def _process_namespace() -> int:
    """Which processes are numbered together with this one: containers may share a machine's name."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def _connect() -> dist.Store:
    import torch.distributed as dist

    try:
        store: dist.Store = next(iter(dist.rendezvous("env://", timeout=PATIENCE)))[0]
    except ValueError as error:  # a variable is missing
        raise UsageError(f"WORLD_SIZE says that there are several processes, but {error}; use torchrun") from error
    except RuntimeError as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise ByolaError(f"the job's first node cannot be reached at {where} ({sentence(error)})") from error
    return store


def _silence() -> float:
    given = os.environ.get(SILENCE_VARIABLE)
    try:
        seconds = SILENCE_SECONDS if given is None else float(given)
    except ValueError:
        seconds = 0.0
    if not 5 <= seconds <= 86_400:
        raise UsageError(f"{SILENCE_VARIABLE} must be a number of seconds from 5 to 86400, not {given!r}")
    return seconds


def _run_key(folder: Path) -> str:
    return f"byol-a run {folder.absolute()}"


def _exit_code(ending: BaseException) -> int:
    if isinstance(ending, SystemExit):
        return ending.code if isinstance(ending.code, int) else 1
    return int(getattr(ending, "exit_code", 130 if isinstance(ending, KeyboardInterrupt) else 1))
