"""Keeping memory that was freed: what large tensors on a CPU cost most is being handed out anew."""

from __future__ import annotations

import ctypes
import sys

# Parameters of mallopt(3) in glibc.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next allocation instead of returning it to the system.

    By default glibc maps every large buffer freshly and unmaps it when freed, so each training step's activations
    are page-faulted in and zeroed again: a third of the step's time on two cores (see `benchmarks/pretrain.py`). The
    setting holds for the whole process, whose memory then stays at its peak; it is for commands, not for libraries.

    Returns:
        Whether it was set; False where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))
