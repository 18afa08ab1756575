"""Pair losses: predictions against the target's projections; `create_loss` builds one from its configuration."""

from __future__ import annotations

from typing import Any

from byol_a.methods.losses.base import LossConfig, PairLoss
from byol_a.methods.losses.regression import Regression, RegressionConfig, regression_loss
from byol_a.methods.losses.self_labelling import CCSL, CSSL, CCSLConfig, CSSLConfig
from byol_a.methods.registry import entry, require_own_config

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
    return entry("loss", name, LOSSES)


def create_loss(config: LossConfig) -> PairLoss:
    """The loss that `config` describes.

    Raises:
        UsageError: for an unknown name, or a name that is not the one of the configuration's class.
    """
    config_class, loss_class = loss_entry(config.name)
    require_own_config("loss", config, config_class)
    loss: PairLoss = loss_class(config)
    return loss
