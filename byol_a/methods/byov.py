"""BYOV: Bootstrap Your Own Variance (Turishcheva et al. 2023, arXiv 2312.03213), BYOL with variational weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from byol_a.encoders.base import AudioEncoder
from byol_a.encoders.variational import (
    INITIAL_RHO,
    kl_divergence,
    make_plain,
    make_variational,
    mean_sigma,
    n_weights,
    sigma_once,
)
from byol_a.errors import UsageError
from byol_a.methods.base import StepOutput
from byol_a.methods.byol import BYOL, BYOLConfig

LEAST_RHO = -80.0  # a deviation of 2e-35; below -88 it is no normal number of float32, and from -104 on 0


@dataclass
class BYOVConfig(BYOLConfig):
    """BYOL's pieces, and the Gaussians over weights. (The values are our choice; the paper leaves them open.)

    A weight is `mu + softplus(rho) eps`; `rho` is where each deviation starts. The prior is N(0, prior_std^2). `beta`
    weighs the KL divergence from it: that of each weight, as `kl: sum` adds them up (so the number in the log is large,
    its gradient is not), or their mean with `kl: mean`.
    """

    name: str = "byov"
    rho: float = INITIAL_RHO
    prior_std: float = 0.1
    beta: float = 1e-6
    kl: Literal["sum", "mean"] = "sum"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not LEAST_RHO <= self.rho < math.inf:
            raise UsageError(f"method.rho must be a number of at least {LEAST_RHO}, not {self.rho}")
        if not 0 < self.prior_std < math.inf:
            raise UsageError(f"method.prior_std must be positive, not {self.prior_std}")
        if not 0 <= self.beta < math.inf:
            raise UsageError(f"method.beta must be at least 0, not {self.beta}")


class BYOV(BYOL):
    """BYOL whose online weights are drawn anew for each view: the loss is BYOL's plus `beta KL`.

    The weights of all convolutions and linear layers of the online encoder, projector and predictor are variational;
    biases and norms are not. The target is the average of the means and runs without noise. (Which weights, one sample
    a view and the noiseless target are our choice.)

    Args:
        encoder: the online encoder; it becomes variational if it is not.
        config: BYOV's settings.
    """

    config_class = BYOVConfig
    recordable = True

    config: BYOVConfig

    def __init__(self, encoder: AudioEncoder, config: BYOVConfig | None = None) -> None:
        config = config if config is not None else BYOVConfig()
        super().__init__(encoder, config)
        make_plain(self.target)  # so that it has no Gaussians: those of `self` are the trained networks'
        for network in (self.online, self.predictor):
            make_variational(network, config.rho)

    @classmethod
    def encoder_options(cls, config: Any) -> dict[str, Any]:
        """The encoder is variational, in the exported model too."""
        return {"variational": True}

    def forward(self, views: Tensor) -> StepOutput:
        """BYOL's, with the mean deviation of the weights (`sigma`) beside."""
        # A compiled pass finds for itself what to compute once, and cannot keep it in attributes of modules.
        with contextlib.nullcontext() if torch.compiler.is_compiling() else sigma_once(self):
            output = super().forward(views)
            output.terms["sigma"] = mean_sigma(self)
            return output

    def penalties(self, projections: Sequence[Tensor]) -> dict[str, Tensor]:
        """The regularisers and the weighted divergence from the prior."""
        kl = kl_divergence(self, self.config.prior_std)
        if self.config.kl == "mean":
            kl = kl / n_weights(self)
        return {**super().penalties(projections), "kl": self.config.beta * kl}
