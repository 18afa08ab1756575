"""Freed memory is kept: a large buffer costs page faults the first time only."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch
from byol_a.allocator import keep_freed_memory
if {keep} and not keep_freed_memory():
    raise SystemExit(3)
torch.ones(16_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for n in range(5):
    torch.ones(15_000_000 - 100_000 * n)  # a little smaller each time: aligned requests of one size do not fit exactly
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    command = [sys.executable, "-c", SCRIPT.format(keep=keep)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode == 3:
        pytest.skip("the C library here is not glibc")
    return int(done.stdout)


def test_page_faults_happen_once() -> None:
    assert faults(keep=True) < 0.1 * faults(keep=False)
