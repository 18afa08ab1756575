"""One process or many: the groups that processes form, and the few things they say to each other."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from byol_a.device import pick_device
from byol_a.errors import ByolaError, UsageError
from byol_a.training.job import Job, together

# Those who died are found out by the watch that processes keep over each other. Until then a process may wait for one
# that is busy: in a step while the main process writes a checkpoint, elsewhere while it lists and measures the data.
STEP_TIMEOUT = timedelta(minutes=30)
CONTROL_TIMEOUT = timedelta(hours=24)

Value = TypeVar("Value")


@dataclass(frozen=True)
class Processes:
    """This process among its peers. `rank` 0 is the one that prints and writes.

    Tensors of the training travel through the default group, NCCL between GPUs. What else there is to say travels
    through `control`, a gloo group: it never waits for a device.
    """

    rank: int
    world_size: int
    device: torch.device
    control: dist.ProcessGroup | None = None
    job: Job | None = None

    @property
    def is_main(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in any process."""
        if self.world_size == 1:
            return flag
        value = torch.tensor(flag, dtype=torch.int32)
        dist.all_reduce(value, op=dist.ReduceOp.MAX, group=self.control)
        return bool(value)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Elementwise mean of a tensor over processes."""
        if self.world_size == 1:
            return values
        values = values.clone()
        dist.all_reduce(values)
        return values / self.world_size

    def gather(self, value: Any) -> list[Any]:
        """Every process's `value` in rank order, on rank 0; an empty list elsewhere."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.gather_object(value, values if self.is_main else None, group=self.control)
        return values if self.is_main else []

    def broadcast(self, value: Any) -> Any:
        """Rank 0's `value`, everywhere."""
        if self.world_size == 1:
            return value
        holder = [value]
        dist.broadcast_object_list(holder, group=self.control)
        return holder[0]

    def from_main(self, work: Callable[[], Value]) -> Value:
        """What `work` gives in the main process, which alone does it, everywhere; so is a `ByolaError` it raises."""
        found: Value | ByolaError | None = None
        if self.is_main:
            try:
                found = work()
            except ByolaError as error:
                found = error
        found = self.broadcast(found)
        if isinstance(found, ByolaError):
            raise found
        return cast("Value", found)

    def vote(self) -> Vote:
        """A vote to be held at every step."""
        return Vote(self)

    def remember_run(self, folder: Path) -> None:
        """Note for a later start of this job that it works on the run in `folder`."""
        if self.job is not None:
            self.job.remember_run(folder)


class Vote:
    """Whether any process wants something, asked at every step and answered one step later.

    So the answer has had a step's time to travel, and nobody waits for it. All processes call it equally often, and
    get the same answers. Alone, a process has its answer at once.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._pending: tuple[dist.Work, torch.Tensor] | None = None

    def __call__(self, wish: bool) -> bool:
        """Hand in this step's `wish`; returns whether any process had one a step ago."""
        if self._processes.world_size == 1:
            return wish
        answer = self._answer()
        ballot = torch.tensor(wish, dtype=torch.int32)
        work = dist.all_reduce(ballot, op=dist.ReduceOp.MAX, group=self._processes.control, async_op=True)
        assert work is not None
        self._pending = work, ballot
        return answer

    def _answer(self) -> bool:
        if self._pending is None:
            return False
        work, ballot = self._pending
        work.wait()
        return bool(ballot)


@contextlib.contextmanager
def join_processes(device: str = "auto") -> Iterator[Processes]:
    """Join the processes that `torchrun` started, if it did (NCCL on GPUs, gloo on CPUs), and leave them at the end.

    Args:
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:1"; under `torchrun` each process
            takes the GPU of its local rank.

    Raises:
        UsageError: for a device that does not exist here.
    """
    with together() as job:
        chosen = pick_device(device)
        if job.world_size == 1:
            yield Processes(0, 1, chosen, job=job)
            return
        if chosen.type == "cuda":
            chosen = _own_gpu(job.local_rank)
        dist.init_process_group(
            "nccl" if chosen.type == "cuda" else "gloo",
            store=job.store,
            rank=job.rank,
            world_size=job.world_size,
            timeout=STEP_TIMEOUT,
        )
        control = dist.new_group(backend="gloo", timeout=CONTROL_TIMEOUT)
        yield Processes(job.rank, job.world_size, chosen, control, job)
        # After an error the group is left as it is: it may wait for ever for a process that is no more.
        dist.destroy_process_group()


def _own_gpu(local_rank: int) -> torch.device:
    count = torch.cuda.device_count()
    if "LOCAL_RANK" not in os.environ:
        raise UsageError("LOCAL_RANK is not set, which says which GPU is this process's; start it with torchrun")
    if local_rank >= count:
        raise UsageError(
            f"process {local_rank} of this machine has no GPU ({count} to be seen); start at most {count} processes "
            "here, and let each see all GPUs"
        )
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device
