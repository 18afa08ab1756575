"""Projector and predictor: the two-layer perceptrons of BYOL (Grill et al. 2020, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from byol_a.encoders.norms import NormConfig, head_norm, standardize_weights
from byol_a.errors import UsageError
from byol_a.kernels import kernels_for
from byol_a.kernels.functions import linear
from byol_a.kernels.guards import is_ordinary


@dataclass
class HeadConfig:
    """Sizes of a head: `hidden` units, `out` outputs; and the norm between its layers."""

    hidden: int = 4096
    out: int = 256
    norm: NormConfig = field(default_factory=NormConfig)

    def __post_init__(self) -> None:
        if self.hidden < 1 or self.out < 1:
            raise UsageError(f"a head needs at least one hidden unit and one output, not {self.hidden} and {self.out}")


class Head(nn.Sequential):
    """Linear, norm, ReLU, Linear; with kernels for the products unless `fast` is False."""

    fast: bool = True

    def views(self, x: Tensor) -> Tensor:
        """(V, B, in) to (V, B, out): as view after view, but for the products, which are those of all views at once."""
        linear1, norm, relu, linear2 = cast("Any", self)
        kernels = kernels_for(x.device) if self.fast and is_ordinary(x) else None
        hidden = torch.stack([norm(view) for view in linear(kernels, x, linear1)])
        return linear(kernels, relu(hidden), linear2)


def mlp_head(in_features: int, hidden: int, out: int, norm: NormConfig | None = None) -> Head:
    """Linear, norm, ReLU, Linear; (B, in_features) to (B, out), no norm at the end.

    Args:
        norm: batch norm (eps 1e-5, momentum 0.1) by default; its weight standardisation holds for both Linears.
    """
    norm = norm if norm is not None else NormConfig()
    head = Head(
        nn.Linear(in_features, hidden),
        head_norm(norm, hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, out),
    )
    if norm.weight_standardization:
        standardize_weights(head, scaled=norm.weight_standardization == "scaled")
    return head
