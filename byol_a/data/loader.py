"""Batches of random crops, read ahead by worker processes or in this one; a worker that dies is replaced."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Generator, Iterable

from torch import Tensor

from byol_a.data.crops import Key, Problems, RandomCrops
from byol_a.data.reader import Reader, WorkerDied
from byol_a.errors import ByolaError

READ_AHEAD = 4
"""Batches that a worker has been asked for and that were not used yet."""

DEATHS = 3
"""How many workers may die over one batch."""


def load_crops(
    crops: RandomCrops, keys: Iterable[list[Key]], workers: int, pin_memory: bool = False
) -> Generator[tuple[Tensor, Problems], None, None]:
    """Read batches of crops ahead of their use, in order.

    A worker that is killed, or that a decoder takes down with it, is replaced by one that reads what it still owed:
    the batches are the same, and a line on standard error says what happened.

    Args:
        crops: the dataset.
        keys: for each batch its list of keys, none longer than the first.
        workers: processes that read; 0 reads here.
        pin_memory: whether the batches should be ready for an asynchronous copy to a GPU.

    Yields:
        int16 crops (B, S), and the (path, reason) of every file that was passed over to make them.

    Raises:
        ByolaError: if no usable file is found for a crop, or one worker after the other dies over the same batch.
    """
    if workers == 0:
        for batch in keys:
            waves, problems = crops.batch(batch)
            yield waves.pin_memory() if pin_memory else waves, problems
        return
    readers: list[Reader] = []
    owing: deque[Reader] = deque()  # in the order of the batches
    try:
        for number, batch in enumerate(keys):
            if number < workers:
                readers.append(Reader(crops, len(batch), READ_AHEAD))
            ready = _take(owing.popleft(), pin_memory) if len(owing) == workers * READ_AHEAD else None
            reader = readers[number % workers]
            reader.ask(batch)
            owing.append(reader)
            if ready is not None:
                yield ready
        while owing:
            yield _take(owing.popleft(), pin_memory)
    finally:
        for reader in readers:
            reader.end()


def _take(reader: Reader, pin_memory: bool) -> tuple[Tensor, Problems]:
    """The batch that the reader owes, out of the memory that the next one goes into."""
    deaths = 0
    while True:
        try:
            waves, problems = reader.take()
            return waves.pin_memory() if pin_memory else waves.clone(), problems
        except WorkerDied as death:
            deaths += 1
            if deaths == DEATHS:
                raise ByolaError(_give_up(death)) from death
            print(f"a data worker was ended by {death}; another one takes its place", file=sys.stderr, flush=True)
            time.sleep(deaths - 1)  # from the second on: memory that was short may be free again
            reader.restart()


def _give_up(death: WorkerDied) -> str:
    where = f" while it read {death.reading}" if death.reading else ""
    return (
        f"{DEATHS} data workers died one after the other over the same batch, the last one by {death}{where}; "
        "if memory ran out, take fewer data.workers; if it is always that file, move it away"
    )
