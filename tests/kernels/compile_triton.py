"""Compile the Triton kernels as AudioNTT launches them, for a GPU that need not be there, and print what they use.

Run as `python -m tests.kernels.compile_triton 90 bfloat16`: compute capability and type of the maps. One JSON object
by the kernels' names: registers of a thread, bytes of them that spill, shared memory, widest access in bytes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

from byol_a.kernels.cuda import CUDAKernels
from byol_a.kernels.triton import affine, common, conv, dropout, launch, moments, pooling

CLIPS, CHANNELS, BINS, FRAMES, FEATURES = 8, 64, 64, 96, 2048


class AbsentGPU:
    """As much of a Triton driver as compiling takes."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)


def compile_all(capability: int, store: torch.dtype) -> dict[str, dict[str, int]]:
    """Call every method of the kernels, with launches replaced by compiling."""
    driver.set_active(AbsentGPU(capability))
    found: dict[str, dict[str, int]] = {}

    def compile_only(kernel: Any, grid: tuple[int, ...], *arguments: Any, launch: Any, **constants: Any) -> None:
        compiled = kernel.warmup(*arguments, grid=grid, num_warps=launch.warps, **constants)
        found[kernel.__name__.strip("_").removesuffix("_kernel")] = resources(compiled)

    for module in (affine, common, conv, dropout, moments, pooling):
        module.run = compile_only
    kernels = CUDAKernels.__new__(CUDAKernels)
    kernels._affine, kernels._conv, kernels._dropout = affine, conv, dropout
    kernels._moments, kernels._pooling = moments, pooling
    kernels.launches = dict(launch.LAUNCHES)
    call_all(kernels, store)
    return found


def resources(compiled: Any) -> dict[str, int]:
    """What ptxas says of a compiled kernel, and the widest access to global memory in its code."""
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        command = [tools / "cuobjdump", "-res-usage", file.name]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    widths = re.findall(r"(?:ld|st)\.global[.\w:]*?(?:\.v(\d))?\.b(\d+)", compiled.asm["ptx"])
    return {
        "registers": int(re.search(r"REG:(\d+)", usage)[1]),
        "spilled": int(re.search(r"STACK:(\d+)", usage)[1]),
        "shared": compiled.metadata.shared,
        "access": max(int(many or 1) * int(bits) // 8 for many, bits in widths),
    }


def call_all(kernels: CUDAKernels, store: torch.dtype) -> None:
    real = torch.promote_types(store, torch.float32)

    def feature_map(height: int, width: int) -> Tensor:
        return torch.empty(CLIPS, height, width, CHANNELS, dtype=store).permute(0, 3, 1, 2)

    x, weight = torch.empty(CLIPS, 1, BINS, FRAMES, dtype=real), torch.empty(CHANNELS, 9, dtype=real)
    channel = torch.empty(CHANNELS, dtype=real)
    full, pooled = feature_map(BINS // 2, FRAMES // 2), feature_map(BINS // 4, FRAMES // 4)
    kernels.patch_moments(x)
    kernels.conv_relu_pool(x, weight, channel, full)
    kernels.conv_relu_pool_backward(x, weight, channel, full)
    kernels.channel_moments(full)
    kernels.affine_relu_pool(full, channel, channel, pooled)
    kernels.affine_relu_pool_sums(full, channel, channel, pooled)
    kernels.affine_relu_pool_backward(full, channel, channel, pooled, channel, channel, feature_map(32, 48))
    frames = torch.empty(CLIPS, FRAMES // 4, FEATURES, dtype=store)
    clips = torch.empty(CLIPS, FEATURES, dtype=real)
    kernels.relu_dropout_backward(kernels.relu_dropout(frames, 0.3, torch.empty((), dtype=torch.int64)), frames, 0.3)
    kernels.relu_pool_time(frames, clips)
    kernels.relu_pool_time_backward(frames, clips)


if __name__ == "__main__":
    print(json.dumps(compile_all(int(sys.argv[1]), getattr(torch, sys.argv[2])), indent=2))
