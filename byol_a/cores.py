"""Work shared out among cores: each has its own pieces, rather than its part of every operation.

Threads that share every operation wait for the slowest of them at each one's end, which costs most where others use
the machine too. Clips do not need one another; so each core takes some, and computes them alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def on_cores(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`work(item)` of each item, in order, on as many cores as torch has threads.

    Items are drawn as they are needed, at most two for each core ahead of the results. Leaving early waits for what
    has begun. For work whose time passes in torch's operations, or outside the interpreter.
    """
    n_cores = torch.get_num_threads()
    if n_cores == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(n_cores, "core", initializer=_alone) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                # A thread sets the number for itself, and for those that ask for it first: right for these again.
                torch.set_num_threads(n_cores)
                if len(waiting) >= 2 * n_cores:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            torch.set_num_threads(n_cores)


def _alone() -> None:
    torch.get_num_threads()  # else torch would set this thread's own number at its first operation
    torch.set_num_threads(1)
