"""How many threads a fit is worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread(where: bool = True) -> Iterator[None]:
    """Inside, torch computes on one thread, if `where`: small products lose more by waiting for one another.

    On a machine with other work to do, such waits made 5 folds of ESC-10 ten times slower on two threads. The
    number is the process's, so fits that run side by side in threads should not both change it.
    """
    before = torch.get_num_threads()
    if not where or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
