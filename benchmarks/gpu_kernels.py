"""Each kernel at the shapes of AudioNTT2022: its time beside the least bytes it moves, and other launches of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import machine
import torch
from torch import Tensor

from byol_a.kernels import Kernels, kernels_for
from byol_a.kernels.functions import channels_last

N_MELS, N_FRAMES, DROPOUT = 64, 96, 0.3
Work = tuple[Callable[[Kernels], object], int]


def works(images: int, channels: int, hidden: int, device: torch.device, store: torch.dtype) -> dict[str, Work]:
    """By the kernel's name: a call, and the bytes of what it reads and writes once.

    Args:
        images: clips times views.
        channels, hidden: of the encoder.
        device: where.
        store: the type of maps.
    """

    def filled(c: int, h: int, w: int) -> Tensor:
        return channels_last(images, c, h, w, store, device).normal_()

    x = torch.randn(images, 1, N_MELS, N_FRAMES, device=device)
    weight, bias = torch.randn(channels, 9, device=device) / 3, torch.randn(channels, device=device)
    scale, shift, slope, offset = (torch.randn(channels, device=device) for _ in range(4))
    first, second = filled(channels, N_MELS // 2, N_FRAMES // 2), filled(channels, N_MELS // 4, N_FRAMES // 4)
    given, given2, same = torch.randn_like(first), torch.randn_like(second), torch.empty_like(first)
    frames = torch.randn(images, N_FRAMES // 4, hidden, device=device).to(store)
    seed: Any = torch.tensor(1234, device=device) if device.type == "cuda" else 1234
    pooled = torch.zeros(images, hidden, device=device)

    def size(*tensors: Tensor) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    kept = torch.relu(frames)
    return {
        "patch_moments": (lambda k: k.patch_moments(x), size(x)),
        "conv_relu_pool": (lambda k: k.conv_relu_pool(x, weight, bias, first), size(x, first)),
        "conv_relu_pool_backward": (lambda k: k.conv_relu_pool_backward(x, weight, bias, given), size(x, given)),
        "channel_moments": (lambda k: k.channel_moments(given), size(given)),
        "affine_relu_pool": (lambda k: k.affine_relu_pool(given, scale, shift, second), size(given, second)),
        "affine_relu_pool_sums": (
            lambda k: k.affine_relu_pool_sums(given, scale, shift, given2),
            size(given, given2),
        ),
        "affine_relu_pool_backward": (
            lambda k: k.affine_relu_pool_backward(given, scale, shift, given2, slope, offset, same),
            size(given, given2, same),
        ),
        "relu_dropout": (lambda k: k.relu_dropout(frames, DROPOUT, seed), 2 * size(frames)),
        "relu_dropout_backward": (lambda k: k.relu_dropout_backward(frames, kept, DROPOUT), 3 * size(frames)),
        "relu_pool_time": (lambda k: k.relu_pool_time(frames, pooled), size(frames, pooled)),
        "relu_pool_time_backward": (lambda k: k.relu_pool_time_backward(frames, pooled), 2 * size(frames)),
    }


def measure(quick: bool, device: torch.device) -> dict[str, Any]:
    """Milliseconds, bandwidth and its share of a copy's for each kernel; on a GPU also the best other launch."""
    kernels = kernels_for(device)
    if kernels is None:
        raise RuntimeError(f"there are no kernels for {device.type} here")
    store = torch.bfloat16 if device.type == "cuda" else torch.float32
    sizes = (4, 16, 32) if quick else (512, 64, 2048)
    copy = machine.copy_bandwidth(device, 1 << 20 if quick else None)
    found: dict[str, Any] = {"copy_bandwidth": copy, "kernels": {}}
    for name, (call, moved) in works(*sizes, device, store).items():
        # Nothing fits into the cache at the full sizes but what is a few per cent of the time.
        seconds = machine.fastest(lambda call=call: call(kernels), device, repeats=3 if quick else 20)
        row = {"ms": 1000 * seconds, "bytes": moved, "share_of_copy": moved / seconds / copy}
        if device.type == "cuda":
            row |= _sweep(name, call, device, quick)
        found["kernels"][name] = row
    return found


def _sweep(name: str, call: Callable[[Kernels], object], device: torch.device, quick: bool) -> dict[str, Any]:
    """The fastest of some other launches of a kernel."""
    from byol_a.kernels.cuda import CUDAKernels
    from byol_a.kernels.triton.launch import LAUNCHES

    usual = LAUNCHES[name]
    times: dict[str, float] = {}
    for rows in (usual.rows // 2, usual.rows, usual.rows * 2):
        for warps in (4,) if quick else (2, 4, 8):
            launch = replace(usual, rows=max(16, rows) if usual.rows >= 16 else max(1, rows), warps=warps)
            kernels = CUDAKernels({name: launch})
            try:
                seconds = machine.fastest(lambda kernels=kernels: call(kernels), device, repeats=10)
            except Exception as error:  # a tile that does not fit is no failure of the session
                times[f"rows {launch.rows}, warps {warps}: {type(error).__name__}"] = float("inf")
            else:
                times[f"rows {launch.rows}, warps {warps}"] = 1000 * seconds
    best = min(times, key=lambda key: times[key])
    return {"best_launch": best, "best_ms": times[best]}
