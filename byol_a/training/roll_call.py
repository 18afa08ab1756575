"""All processes of a job find each other, and agree on a name for this start of it."""

from __future__ import annotations

import time
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from byol_a.errors import ByolaError

if TYPE_CHECKING:
    import torch.distributed as dist

# Starting takes long where a thousand processes read their libraries from one disk.
PATIENCE = timedelta(minutes=10)
LOOK_SECONDS = 0.05


def roll_call(store: dist.Store, rank: int, world_size: int, patience: timedelta = PATIENCE) -> str:
    """Wait until all processes are there.

    A launcher that starts a job anew does so over the same store, which still holds what the processes before said;
    and it does not number the starts alike on all nodes. So each process presents a random word, the main process
    answers each word with the name it has made up, and goes on until all have taken that name.

    Args:
        store: shared by the processes of all starts.
        rank: this process's rank; 0 is the main process.
        world_size: processes in all.
        patience: how long to wait for the others.

    Returns:
        The name, the same in all processes of this start and in no other.

    Raises:
        ByolaError: if a process does not appear.
    """
    word = uuid.uuid4().hex
    if rank == 0:
        _call(store, word, set(range(1, world_size)), patience)
        store.set(f"{word}/complete", "")
        return word
    store.set(f"word/{rank}", word)
    try:
        store.wait([f"answer/{word}"], patience)
        name = store.get(f"answer/{word}").decode()
        store.set(f"{name}/taken/{rank}", "")
        store.wait([f"{name}/complete"], patience)
    except RuntimeError as error:
        raise ByolaError(f"process {rank} waited in vain for the job's other processes to start") from error
    return name


def _call(store: dist.Store, name: str, missing: set[int], patience: timedelta) -> None:
    deadline = time.monotonic() + patience.total_seconds()
    while missing:
        for rank in sorted(missing):
            if store.check([f"{name}/taken/{rank}"]):
                missing.remove(rank)
            elif store.check([f"word/{rank}"]):  # it may be a word from an earlier start, and be replaced
                store.set(f"answer/{store.get(f'word/{rank}').decode()}", name)
        if missing and time.monotonic() > deadline:
            listed = ", ".join(map(str, sorted(missing)[:10]))
            raise ByolaError(
                f"{len(missing)} of the job's processes have not started (rank {listed}); look at their nodes' output"
            )
        time.sleep(LOOK_SECONDS)
