"""Where tensors live and how precisely they are multiplied: names on the command line to what torch has here."""

from __future__ import annotations

from typing import Literal

import torch

from byol_a.errors import UsageError

Precision = Literal["float32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bf16")


def pick_device(device: str = "auto") -> torch.device:
    """A device by name; "auto" is the GPU where there is one.

    Raises:
        UsageError: for a name torch does not know or a GPU that is not here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"there is no {device} here ({torch.cuda.device_count()} CUDA devices found); try --device cpu"
        )
    return chosen


def resolve_precision(precision: Literal["auto", "float32", "bf16"], device: torch.device) -> Precision:
    """Resolve "auto" to "bf16" where the hardware multiplies it natively, to "float32" elsewhere."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    # AMX tiles are what makes bf16 faster than float32 on a CPU; plain AVX-512 is not enough.
    return "bf16" if torch.cpu._is_amx_tile_supported() else "float32"
