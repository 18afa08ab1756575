"""The switch `fast`: whether kernels are used, and the one line that says why not."""

from __future__ import annotations

import threading
from typing import Literal

import torch

from byol_a.errors import UsageError
from byol_a.kernels.base import Kernels

Fast = Literal["auto", "on", "off"]


class Unavailable(Exception):
    """Why a device has no kernels here, as a clause: "no C++ compiler was found (g++, c++, clang++)"."""


def kernels_for(device: torch.device) -> Kernels | None:
    """The kernels of a device, None where there are none."""
    found = _find(device.type)
    return found if isinstance(found, Kernels) else None


def why_none(device: torch.device) -> str | None:
    """Why a device has no kernels, as a clause; None where it has some."""
    found = _find(device.type)
    return found if isinstance(found, str) else None


def decide(fast: Fast | bool, obstacle: str | None) -> tuple[bool, str | None]:
    """Whether to use kernels, and what to say where they are not used though they might have been.

    Args:
        fast: what was asked for; a truth value is on or off.
        obstacle: why they cannot be used, as a clause; None where they can.

    Raises:
        UsageError: with `fast="on"`, if there is an obstacle.
    """
    if fast in ("off", False):
        return False, None
    if obstacle is None:
        return True, None
    if fast in ("on", True):
        raise UsageError(f"fast=on is not possible here, because {obstacle}; use fast=auto")
    return False, f"the plain path is taken instead of the fast one, because {obstacle}"


_found: dict[str, Kernels | str] = {}  # failures too: nobody waits twice for a compiler that fails
_looking = threading.Lock()


def _find(kind: str) -> Kernels | str:
    """The kernels of a kind of device, the same for all threads, or why there are none."""
    found = _found.get(kind)
    if found is None:
        with _looking:
            found = _found.get(kind)
            if found is None:
                found = _found[kind] = _look(kind)
    return found


def _look(kind: str) -> Kernels | str:
    try:
        if kind == "cpu":
            from byol_a.kernels.cpu import CPUKernels

            return CPUKernels()
        if kind == "cuda":
            from byol_a.kernels.cuda import CUDAKernels

            return CUDAKernels()
    except Unavailable as reason:
        return str(reason)
    return f"there are no kernels for {kind} devices"
