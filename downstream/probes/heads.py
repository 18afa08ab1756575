"""Several small classification networks of one shape, trained as if they were one module."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

MOMENTUM, EPSILON = 0.1, 1e-5  # of batch norm, as in torch.nn.BatchNorm1d


class Heads(nn.Module):
    """H heads (H, B, D) -> (H, B, C): linear, or hidden layers of linear, batch norm, dropout and ReLU each.

    Head h is what it would be alone: its weights come from its own seed as `torch.nn.Linear` draws them, its
    dropout from a generator of its own. Parameters and buffers have the heads as first dimension.

    Args:
        dim: D, of the inputs.
        n_classes: C.
        seeds: one a head.
        dropout: rates in [0, 1), one a head.
    """

    def __init__(
        self,
        dim: int,
        n_classes: int,
        seeds: Sequence[int],
        hidden_layers: int = 0,
        hidden_dim: int = 1024,
        dropout: Sequence[float] = (),
        device: str = "cpu",
    ) -> None:
        super().__init__()
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        widths = [dim, *[hidden_dim] * hidden_layers]
        self.layers = nn.ModuleList([_Linear(of, to, generators) for of, to in itertools.pairwise(widths)])
        self.norms = nn.ModuleList([_BatchNorm(len(seeds), hidden_dim) for _ in range(hidden_layers)])
        self.last = _Linear(widths[-1], n_classes, generators)
        rates = torch.tensor(dropout or [0.0] * len(seeds))
        self._drops = bool(rates.any())
        self.kept: Tensor
        self.register_buffer("kept", 1 - rates[:, None, None])
        self._noise = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.to(device)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (H, B, C) of (H, B, D)."""
        for linear, norm in zip(self.layers, self.norms, strict=True):
            inputs = torch.relu(self._drop(norm(linear(inputs))))
        logits: Tensor = self.last(inputs)
        return logits

    def _drop(self, inputs: Tensor) -> Tensor:
        if not (self.training and self._drops):
            return inputs
        draws = [torch.rand(inputs.shape[1:], generator=noise, device=inputs.device) for noise in self._noise]
        return torch.where(torch.stack(draws) < self.kept, inputs / self.kept, 0)

    def keep(self, heads: Tensor) -> None:
        """Go on with some of the heads."""
        for module in self.modules():
            for name, parameter in module._parameters.items():
                module._parameters[name] = nn.Parameter(parameter.detach()[heads]) if parameter is not None else None
            for name, buffer in module._buffers.items():
                module._buffers[name] = buffer[heads] if buffer is not None else None
        self._noise = [self._noise[head] for head in heads.tolist()]


class _Linear(nn.Module):
    def __init__(self, of: int, to: int, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        bound = 1 / math.sqrt(of)
        # Drawn head by head, weight and then bias.
        drawn = [(_uniform((to, of), bound, generator), _uniform((to,), bound, generator)) for generator in generators]
        self.weight = nn.Parameter(torch.stack([weight.T for weight, _ in drawn]))  # (H, of, to)
        self.bias = nn.Parameter(torch.stack([bias for _, bias in drawn])[:, None])  # (H, 1, to)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, inputs, self.weight)


def _uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> Tensor:
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


class _BatchNorm(nn.Module):
    def __init__(self, n_heads: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_heads, 1, width))
        self.bias = nn.Parameter(torch.zeros(n_heads, 1, width))
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(n_heads, 1, width))
        self.register_buffer("variance", torch.ones(n_heads, 1, width))

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            variance, mean = torch.var_mean(inputs, dim=1, correction=0, keepdim=True)
            with torch.no_grad():
                n = inputs.shape[1]  # of a batch of one clip the variance is 0, where torch would refuse it
                self.mean.lerp_(mean, MOMENTUM)
                self.variance.lerp_(variance * (n / max(n - 1, 1)), MOMENTUM)
        else:
            variance, mean = self.variance, self.mean
        scale = self.weight * torch.rsqrt(variance + EPSILON)
        return torch.addcmul(self.bias - mean * scale, inputs, scale)
