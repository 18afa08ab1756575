"""The kernels on a GPU, written in Triton: `byol_a.kernels.triton`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from byol_a.kernels.base import Kernels
from byol_a.kernels.cpu import side_by_side
from byol_a.kernels.switch import Unavailable

if TYPE_CHECKING:
    from byol_a.kernels.triton.launch import Launch

CAPABILITY = (8, 0)
"""The first that computes with bfloat16 (Ampere)."""


class CUDAKernels(Kernels):
    """See `Kernels`; for float32, float64 and bfloat16. Nothing here waits for the GPU.

    `torch.compile` does not look into these kernels: it breaks its graph around each. CUDA graphs hold them, if the
    same shapes have been run once before. With TRITON_INTERPRET=1 in the environment before triton is imported they
    run on CPU tensors, slowly, for tests.

    Args:
        launches: other tile sizes and numbers of programs than `triton.launch.LAUNCHES` for some kernels, by name.

    Raises:
        Unavailable: if Triton cannot be imported or cannot build kernels here, or the GPU is too old.
    """

    name = "Triton kernels"
    channel_multiple = 16

    def __init__(self, launches: Mapping[str, Launch] | None = None) -> None:
        try:
            from byol_a.kernels.triton import affine, conv, dropout, moments, pooling
            from byol_a.kernels.triton.launch import INTERPRETED, LAUNCHES
        except ImportError as error:
            raise Unavailable(f"Triton cannot be imported ({error})") from None
        self._affine, self._conv, self._dropout, self._moments, self._pooling = affine, conv, dropout, moments, pooling
        self.launches: dict[str, Launch] = {**LAUNCHES, **(launches or {})}
        if not INTERPRETED:
            self._try()

    def _try(self) -> None:
        """Run a small kernel: that needs a driver, a C compiler and Python's headers besides Triton."""
        if not torch.cuda.is_available():
            raise Unavailable("PyTorch finds no GPU")
        major, minor = torch.cuda.get_device_capability()
        if (major, minor) < CAPABILITY:
            wanted = ".".join(map(str, CAPABILITY))
            raise Unavailable(f"the GPU has compute capability {major}.{minor}, below {wanted}")
        try:
            self.relu_dropout(torch.ones(1, device="cuda"), 0.5, 0)
        except Exception as error:  # whatever Triton's compiler, the C compiler or the driver has to say
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise Unavailable(f"Triton cannot build kernels here ({lines[0]})") from None

    def patch_moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._moments.patch_moments(x, self.launches["patch_moments"])

    def conv_relu_pool(self, x: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> None:
        self._conv.conv_relu_pool(x, weight, bias, out, self.launches["conv_relu_pool"])

    def conv_relu_pool_backward(
        self, x: Tensor, weight: Tensor, bias: Tensor, gradient: Tensor
    ) -> tuple[Tensor, Tensor]:
        launch = self.launches["conv_relu_pool_backward"]
        return self._conv.conv_relu_pool_backward(x, weight, bias, side_by_side(gradient), launch)

    def channel_moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._moments.channel_moments(x, self.launches["channel_moments"])

    def affine_relu_pool(self, x: Tensor, scale: Tensor, shift: Tensor, out: Tensor) -> None:
        self._affine.affine_relu_pool(x, scale, shift, out, self.launches["affine_relu_pool"])

    def affine_relu_pool_sums(self, x: Tensor, scale: Tensor, shift: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        launch = self.launches["affine_relu_pool_sums"]
        return self._affine.affine_relu_pool_sums(x, scale, shift, side_by_side(gradient), launch)

    def affine_relu_pool_backward(
        self, x: Tensor, scale: Tensor, shift: Tensor, gradient: Tensor, slope: Tensor, offset: Tensor, out: Tensor
    ) -> None:
        launch = self.launches["affine_relu_pool_backward"]
        gradient = side_by_side(gradient)
        self._affine.affine_relu_pool_backward(x, scale, shift, gradient, slope, offset, out, launch)

    def relu_dropout(self, x: Tensor, p: float, seed: int | Tensor) -> Tensor:
        """See `Kernels.relu_dropout`.

        Args:
            x: a contiguous tensor.
            p: share of zeros.
            seed: a number, or an int64 tensor on the device that holds one: a captured graph reads it at each replay.
        """
        return self._dropout.relu_dropout(x, p, seed, self.launches["relu_dropout"])

    def relu_dropout_backward(self, gradient: Tensor, y: Tensor, p: float) -> Tensor:
        return self._dropout.relu_dropout_backward(gradient, y, p, self.launches["relu_dropout_backward"])

    def relu_pool_time(self, x: Tensor, out: Tensor) -> None:
        self._pooling.relu_pool_time(x, out, self.launches["relu_pool_time"])

    def relu_pool_time_backward(self, x: Tensor, gradient: Tensor) -> Tensor:
        return self._pooling.relu_pool_time_backward(x, gradient, self.launches["relu_pool_time_backward"])
