"""The loss of BYOL: each prediction is drawn to its own target (Grill et al. 2020, arXiv 2006.07733, eq. 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from byol_a.methods.losses.base import LossConfig, PairLoss


def regression_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """`2 - 2 cos(p, z)` row by row: (B, P), (B, P) -> (B,), 0 to 4, in float32 at least."""
    dtype = torch.promote_types(torch.promote_types(prediction.dtype, target.dtype), torch.float32)
    return 2.0 - 2.0 * F.cosine_similarity(prediction.to(dtype), target.to(dtype), dim=-1)


@dataclass
class RegressionConfig(LossConfig):
    """BYOL's loss; it has no settings."""

    name: str = "byol"


class Regression(PairLoss):
    """Mean over the batch of `2 - 2 cos(p_i, z_i)` (BYOL, eq. 2)."""

    def __init__(self, config: RegressionConfig | None = None) -> None:
        super().__init__()
        self.config = config if config is not None else RegressionConfig()

    def forward(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See `PairLoss.forward`; there is nothing beside the loss to log."""
        return regression_loss(prediction, target).mean(), {}
