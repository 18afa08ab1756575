"""What a figure was measured on: the machine's facts for a report, and its peaks, measured where the figure is."""

from __future__ import annotations

import itertools
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from byol_a.data.worker_pool import available_cores
from byol_a.kernels.build import compiler
from byol_a.kernels.switch import Unavailable

INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "asimd", "bf16", "sve")
"""Of the processor's flags, those that decide how fast numbers are multiplied."""
MATRIX_SIZE = {"cpu": 1536, "cuda": 8192}
COPIED_BYTES = {"cpu": 1 << 28, "cuda": 1 << 30}  # of a source; what fits a cache would not tell the memory's speed


def facts(device: torch.device | str = "cpu") -> dict[str, Any]:
    """A JSON-able description of this machine as torch uses it; `device` says which GPU, if any, is meant."""
    device = torch.device(device)
    return {
        "cpu": _cpu_model(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "instructions": _instructions(),
        "onednn_max_isa": os.environ.get("ONEDNN_MAX_CPU_ISA"),
        "memory_gb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        "load_average": os.getloadavg()[0],
        "os": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "compiler": _compiler(),
        "gpu": _gpu(device) if device.type == "cuda" else None,
    }


def described(facts: dict[str, Any]) -> str:
    """Facts as one line for the head of a table."""
    on = f"{facts['gpu']['name']}, " if facts["gpu"] else ""
    instructions = " ".join(name for name in facts["instructions"] if name.startswith(("amx_bf16", "avx512_bf16")))
    limit = f", at most {facts['onednn_max_isa']}" if facts["onednn_max_isa"] else ""
    return (
        f"{on}{facts['cpu']} ({instructions or 'no bf16'}{limit}), {facts['threads']} threads on {facts['cores']} "
        f"cores, load {facts['load_average']:.1f}, torch {facts['torch']}"
    )


def matrix_peak(device: torch.device, dtype: torch.dtype, size: int | None = None) -> float:
    """Floating-point operations per second of a large square matrix product: what the matrix units do at best."""
    size = size or MATRIX_SIZE[device.type]
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * size**3 / fastest(lambda: torch.mm(a, b, out=out), device)


def copy_bandwidth(device: torch.device, size: int | None = None) -> float:
    """Bytes per second, read and written together, of copying `size` bytes: what the memory does at best."""
    size = size or COPIED_BYTES[device.type]
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    return 2 * size / fastest(lambda: target.copy_(source), device)


def fastest(work: Callable[[], object], device: torch.device, repeats: int = 4) -> float:
    """The shortest of several times in seconds, after one that is not timed; on a GPU between events."""
    work()
    if device.type != "cuda":
        took = []
        for _ in range(repeats):
            began = time.perf_counter()
            work()
            took.append(time.perf_counter() - began)
        return min(took)
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    marks[0].record()
    for mark in marks[1:]:
        work()
        mark.record()
    marks[-1].synchronize()
    return min(before.elapsed_time(after) for before, after in itertools.pairwise(marks)) / 1000


def _cpu_model() -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", _cpu_info(), re.MULTILINE)
    return match[1] if match else platform.processor() or platform.machine()


def _instructions() -> list[str]:
    match = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", _cpu_info(), re.MULTILINE)
    flags = match[1].split() if match else []
    return [name for name in INSTRUCTIONS if name in flags]


def _cpu_info() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def _compiler() -> str | None:
    """The first line that the C++ compiler, which the CPU's kernels are made by, says of itself."""
    try:
        found = compiler()
    except Unavailable:
        return None
    said = subprocess.run([*found, "--version"], capture_output=True, text=True, check=False).stdout
    return said.partition("\n")[0] or " ".join(found)


def _gpu(device: torch.device) -> dict[str, Any]:
    found = torch.cuda.get_device_properties(device)
    return {
        "name": found.name,
        "count": torch.cuda.device_count(),
        "memory_gb": found.total_memory / 2**30,
        "multiprocessors": found.multi_processor_count,
        "capability": f"{found.major}.{found.minor}",
        "cuda": torch.version.cuda,
    }
