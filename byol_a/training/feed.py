"""Batches on their way to the device: a copy beside what is being computed, where the device can do both."""

from __future__ import annotations

import torch
from torch import Tensor

from byol_a.data.crops import from_int16


class Feed:
    """Takes int16 crops to a device and makes them float32 there.

    On a GPU both are done on a stream of their own, while earlier steps run on the other; half the bytes of float32
    travel, from pinned memory, and nothing waits but the kernels that are launched after.

    Args:
        device: where the crops are wanted.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, crops: Tensor) -> Tensor:
        """Crops (B, S) int16, in pinned memory for a GPU, to waves (B, S) float32 in [-1, 1]."""
        if self._stream is None:
            return from_int16(crops.to(self._device))
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            wave = from_int16(crops.to(self._device, non_blocking=True))
        # Batches are fetched steps ahead of their use: by then the copy is done, and this is no wait.
        current.wait_stream(self._stream)
        wave.record_stream(current)
        return wave
