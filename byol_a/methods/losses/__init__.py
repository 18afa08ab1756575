"""Pair losses: predictions against the target's projections; `create_loss` builds one from its configuration."""

from __future__ import annotations

from typing import Any

from byol_a.config import nearest
from byol_a.errors import UsageError
from byol_a.methods.losses.base import LossConfig, PairLoss
from byol_a.methods.losses.regression import Regression, RegressionConfig, regression_loss
from byol_a.methods.losses.self_labelling import CCSL, CSSL, CCSLConfig, CSSLConfig

# Each loss class is called with its configuration.
LOSSES: dict[str, tuple[type[LossConfig], type[Any]]] = {
    "byol": (RegressionConfig, Regression),
    "ccsl": (CCSLConfig, CCSL),
    "cssl": (CSSLConfig, CSSL),
}

__all__ = [
    "LOSSES",
    "CCSLConfig",
    "CSSLConfig",
    "LossConfig",
    "PairLoss",
    "RegressionConfig",
    "create_loss",
    "loss_entry",
    "regression_loss",
]


def loss_entry(name: str) -> tuple[type[LossConfig], type[Any]]:
    """The configuration class and the loss class of the loss called `name`.

    Raises:
        UsageError: if there is none, with the nearest name.
    """
    if name not in LOSSES:
        raise UsageError(f"there is no loss {name!r}{nearest(name, LOSSES)}")
    return LOSSES[name]


def create_loss(config: LossConfig) -> PairLoss:
    """The loss that `config` describes.

    Raises:
        UsageError: for an unknown name, or a name that is not the one of the configuration's class.
    """
    config_class, loss_class = loss_entry(config.name)
    if not isinstance(config, config_class):
        raise UsageError(
            f"the loss {config.name!r} is configured by {config_class.__name__}, not by {type(config).__name__}"
        )
    loss: PairLoss = loss_class(config)
    return loss
