"""One process or many: what `torchrun` started, and the few things processes say to each other."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from byol_a.device import pick_device


@dataclass(frozen=True)
class Processes:
    """This process among its peers. `rank` 0 is the one that prints and writes."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in any process."""
        if self.world_size == 1:
            return flag
        value = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return bool(value.item())

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
        dist.gather_object(value, values if self.is_main else None)
        return values if self.is_main else []

    def broadcast(self, value: Any) -> Any:
        """Rank 0's `value`, everywhere."""
        if self.world_size == 1:
            return value
        holder = [value]
        dist.broadcast_object_list(holder)
        return holder[0]

    def close(self) -> None:
        """Leave the group of processes, if there is one."""
        if dist.is_initialized():
            dist.destroy_process_group()


def join_processes(device: str = "auto") -> Processes:
    """Read what `torchrun` put in the environment and join the group (NCCL on GPUs, gloo on CPUs).

    Args:
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:1"; under `torchrun` each process
            takes the GPU of its local rank.

    Raises:
        UsageError: for a device that does not exist here.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = pick_device(device)
    if world_size == 1:
        return Processes(0, 1, chosen)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Processes(dist.get_rank(), world_size, chosen)
