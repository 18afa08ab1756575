"""Regularisers: penalties on what the online network computes, or on its weights; any number beside a loss."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from byol_a.methods.regularizers.base import Regularizer
from byol_a.methods.regularizers.mhe import MHE, MHEConfig
from byol_a.methods.regularizers.uniformity import Uniformity, UniformityConfig

__all__ = ["MHEConfig", "Regularizer", "RegularizersConfig", "UniformityConfig", "create_regularizers"]


@dataclass
class RegularizersConfig:
    """Which penalties are added to the loss; none by default."""

    uniformity: UniformityConfig | None = None
    mhe: MHEConfig | None = None


def create_regularizers(config: RegularizersConfig) -> nn.ModuleDict:
    """The `Regularizer`s that `config` asks for, by their names there."""
    regularizers: dict[str, Regularizer] = {}
    if config.uniformity is not None:
        regularizers["uniformity"] = Uniformity(config.uniformity)
    if config.mhe is not None:
        regularizers["mhe"] = MHE(config.mhe)
    return nn.ModuleDict(regularizers)
