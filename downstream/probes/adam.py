"""Adam for parameters that are stacks of independent ones, each with a learning rate of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

BETAS, EPSILON = (0.9, 0.999), 1e-8  # as in torch.optim.Adam


class StackedAdam:
    """`torch.optim.Adam` along the first dimension: entry h of every parameter has learning rate `lrs[h]`.

    Args:
        parameters: (H, ...) each.
        lrs, weight_decays: one a head; the decay is added to the gradient, as in `torch.optim.Adam`.
    """

    def __init__(self, parameters: Iterable[Tensor], lrs: Sequence[float], weight_decays: Sequence[float]) -> None:
        self.parameters = list(parameters)
        device = self.parameters[0].device
        self._lrs = torch.tensor(lrs, device=device)
        self._decays = torch.tensor(weight_decays, device=device)
        self._means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._squares = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._steps = 0

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters by their gradients and forget these."""
        self._steps += 1
        first, second = (1 - beta**self._steps for beta in BETAS)
        rates, decays = self._lrs / first, self._decays
        decaying = bool(decays.any()) if decays.device.type == "cpu" else True
        for parameter, mean, square in zip(self.parameters, self._means, self._squares, strict=True):
            gradient = parameter.grad
            assert gradient is not None
            shape = (-1, *[1] * (parameter.ndim - 1))
            if decaying:
                gradient = torch.addcmul(gradient, parameter, decays.view(shape))
            mean.lerp_(gradient, 1 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            length = square.sqrt().div_(second**0.5).add_(EPSILON)
            parameter -= length.reciprocal_().mul_(mean).mul_(rates.view(shape))
            parameter.grad = None

    def keep(self, heads: Tensor, parameters: Iterable[Tensor]) -> None:
        """Go on with some of the heads, whose parameters are now `parameters`."""
        self.parameters = list(parameters)
        self._lrs, self._decays = self._lrs[heads], self._decays[heads]
        self._means = [mean[heads] for mean in self._means]
        self._squares = [square[heads] for square in self._squares]
