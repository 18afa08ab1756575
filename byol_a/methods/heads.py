"""Projector and predictor: the two-layer perceptrons of BYOL (Grill et al. 2020, section 3.3)."""

from __future__ import annotations

from torch import nn


def mlp_head(in_features: int, hidden: int, out: int) -> nn.Sequential:
    """Linear, BatchNorm (eps 1e-5, momentum 0.1), ReLU, Linear; (B, in_features) to (B, out), no norm at the end."""
    return nn.Sequential(
        nn.Linear(in_features, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, out),
    )
