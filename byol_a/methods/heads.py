"""Projector and predictor: the two-layer perceptrons of BYOL (Grill et al. 2020, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from byol_a.encoders.norms import NormConfig, head_norm, standardize_weights
from byol_a.errors import UsageError


@dataclass
class HeadConfig:
    """Sizes of a head: `hidden` units, `out` outputs; and the norm between its layers."""

    hidden: int = 4096
    out: int = 256
    norm: NormConfig = field(default_factory=NormConfig)

    def __post_init__(self) -> None:
        if self.hidden < 1 or self.out < 1:
            raise UsageError(f"a head needs at least one hidden unit and one output, not {self.hidden} and {self.out}")


def mlp_head(in_features: int, hidden: int, out: int, norm: NormConfig | None = None) -> nn.Sequential:
    """Linear, norm, ReLU, Linear; (B, in_features) to (B, out), no norm at the end.

    Args:
        norm: batch norm (eps 1e-5, momentum 0.1) by default; its weight standardisation holds for both Linears.
    """
    norm = norm if norm is not None else NormConfig()
    head = nn.Sequential(
        nn.Linear(in_features, hidden),
        head_norm(norm, hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, out),
    )
    if norm.weight_standardization:
        standardize_weights(head, scaled=norm.weight_standardization == "scaled")
    return head
