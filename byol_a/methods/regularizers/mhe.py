"""Minimum hyperspherical energy (MHE): the neurons of every layer are spread over their sphere.

Liu et al. 2018, arXiv 1805.09298; beside BYOL by Durrant and Leontidis 2021, arXiv 2105.00925. The idea is the
latter's and the formulas those of the former; which layers, the weight, half-space with s = 2 and the sampling of
neurons are our choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from byol_a.encoders.parametrizations import original_weight, weight_layers
from byol_a.errors import UsageError
from byol_a.methods.regularizers.base import Regularizer
from byol_a.methods.regularizers.hyperspherical_energy import Power, hyperspherical_energy


@dataclass
class MHEConfig:
    """How neurons are held apart.

    weight: lambda_mhe, what the penalty is multiplied by.
    s: 0, 1 or 2, the power of the distance in the energy.
    half_space: whether opposite neurons count as close.
    neurons: how many of a layer are looked at in a step; of a wider layer others at every step.
    """

    weight: float = 0.01
    s: Power = 2
    half_space: bool = True
    neurons: int = 1024

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise UsageError(f"method.regularizers.mhe.weight must be at least 0, not {self.weight}")
        if self.neurons < 2:
            raise UsageError(f"method.regularizers.mhe.neurons must be at least 2, not {self.neurons}")


def layer_weights(networks: Iterable[nn.Module]) -> list[nn.Parameter]:
    """The weight of every linear and convolutional layer with more than one output, once each.

    Of a layer whose weight is computed from a parameter (a variational or standardised one) it is that parameter.
    """
    weights = (original_weight(layer) for network in networks for layer in weight_layers(network))
    return list({id(weight): weight for weight in weights if len(weight) > 1}.values())


class MHE(Regularizer):
    """The sum over the layers of `hyperspherical_energy` of their neurons: output filters, flattened."""

    recordable = False  # other neurons at every step

    def __init__(self, config: MHEConfig) -> None:
        super().__init__(config.weight)
        self.config = config
        self.step = 0

    def begin_step(self, step: int, total_steps: int) -> None:
        """The step's number decides which neurons are drawn: alike in all processes, and in a resumed run."""
        self.step = step

    def forward(self, networks: Sequence[nn.Module], projections: Sequence[Tensor]) -> Tensor:
        """See `Regularizer.forward`; of the projections only the device matters."""
        energy = projections[0].new_zeros((), dtype=torch.float32)
        weights = layer_weights(networks)
        for weight, drawn in zip(weights, self._draw([len(weight) for weight in weights]), strict=True):
            rows = weight.flatten(1).to(torch.promote_types(weight.dtype, torch.float32))
            if drawn is not None:
                rows = rows.index_select(0, drawn.to(rows.device, non_blocking=True))
            energy = energy + hyperspherical_energy(rows, self.config.s, self.config.half_space)
        return energy

    # A compiled step would be compiled again for each step's number.
    @torch.compiler.disable
    def _draw(self, widths: list[int]) -> list[Tensor | None]:
        """For each layer the indices of the neurons to look at; None for all."""
        generator = torch.Generator().manual_seed(self.step)
        most = self.config.neurons
        return [torch.randperm(n, generator=generator)[:most] if n > most else None for n in widths]
