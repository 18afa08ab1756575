"""Weights that pass through something before their layer sees them: standardised, drawn at random, or both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias, cast

from torch import nn
from torch.nn.utils import parametrize

WeightLayer: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear


def weight_layers(module: nn.Module) -> Iterator[WeightLayer]:
    """Every convolution and linear layer in `module`, itself included."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
            yield layer


def weight_steps(layer: nn.Module) -> list[nn.Module]:
    """The parametrisations that the layer's weight passes through, in their order."""
    if not parametrize.is_parametrized(layer, "weight"):
        return []
    return list(cast("nn.ModuleDict", layer.parametrizations)["weight"])  # type: ignore[call-overload]


def original_weight(layer: WeightLayer) -> nn.Parameter:
    """The parameter behind the layer's weight: the weight itself where nothing comes between."""
    if not weight_steps(layer):
        return cast("nn.Parameter", layer.weight)
    return cast("nn.Parameter", cast("nn.ModuleDict", layer.parametrizations)["weight"].original)


def register_first(layer: WeightLayer, step: nn.Module) -> None:
    """Have the layer's weight pass through `step` before any other parametrisation that is there.

    So the order does not depend on which was asked for first: a weight is drawn, then standardised. The parameter
    remains the one it was, under the key `parametrizations.weight.original`.
    """
    if weight_steps(layer):
        steps = cast("nn.ModuleDict", layer.parametrizations)["weight"]
        cast("nn.ModuleList", steps).insert(0, step)
    else:
        parametrize.register_parametrization(layer, "weight", step)


def remove_first(layer: WeightLayer) -> None:
    """Take away the first of the layer's parametrisations; the parameter behind its weight remains."""
    steps = cast("nn.ModuleList", cast("nn.ModuleDict", layer.parametrizations)["weight"])
    if len(steps) > 1:
        del steps[0]
        return
    weight, made_up = original_weight(layer), type(layer)
    computed = cast("nn.ModuleDict", layer.parametrizations)
    del computed["weight"]
    # torch's `remove_parametrizations` would take the weight from copies of the layer too: they share a made-up class.
    if computed:
        rest = {name: value for name, value in vars(made_up).items() if name != "weight"}
        layer.__class__ = type(made_up.__name__, made_up.__bases__, rest)
    else:
        layer.__class__ = made_up.__bases__[0]
        del layer.parametrizations
    layer.register_parameter("weight", weight)
