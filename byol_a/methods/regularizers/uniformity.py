"""Uniformity on the sphere: the projections of a batch are spread out, as a penalty beside the loss.

Wang and Isola 2020, arXiv 2005.10242; beside BYOL by Durrant and Leontidis 2021, arXiv 2105.00925. The weight 0.1 is
our choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol_a.errors import UsageError
from byol_a.methods.collective import gather_rows
from byol_a.methods.regularizers.base import Regularizer


@dataclass
class UniformityConfig:
    """`weight`: lambda_u, what the penalty is multiplied by."""

    weight: float = 0.1

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise UsageError(f"method.regularizers.uniformity.weight must be at least 0, not {self.weight}")


def uniformity_loss(projections: Tensor) -> Tensor:
    """`log mean_{i != j} exp(-2 ||z_i - z_j||^2)` over L2-normalised rows (Wang and Isola 2020, section 4.1).

    Args:
        projections: (B, P).

    Returns:
        A scalar from -8 (two opposite rows) to 0 (all rows alike), in float32 at least; NaN for a single row.
    """
    rows = F.normalize(projections.to(torch.promote_types(projections.dtype, torch.float32)), dim=-1)
    with torch.autocast(rows.device.type, enabled=False):
        squared = (2.0 - 2.0 * rows @ rows.T).clamp(min=0.0)
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    pairs = len(rows) * (len(rows) - 1)
    total = (-2.0 * squared).masked_fill(itself, -math.inf).flatten().logsumexp(dim=0)
    return total - math.log(pairs) if pairs else total * math.nan


class Uniformity(Regularizer):
    """`uniformity_loss` of each view's projections, over the clips of all processes; the mean over the views."""

    recordable = True

    def __init__(self, config: UniformityConfig) -> None:
        super().__init__(config.weight)

    def forward(self, networks: Sequence[nn.Module], projections: Sequence[Tensor]) -> Tensor:
        """See `Regularizer.forward`; the networks do not matter.

        Raises:
            UsageError: for a batch of one clip, which has no pairs.
        """
        # float32 before the rows travel: not every backend adds bfloat16 gradients up.
        views = [gather_rows(view.to(torch.promote_types(view.dtype, torch.float32))) for view in projections]
        if len(views[0]) < 2:
            raise UsageError("the uniformity regulariser compares the clips of a batch; make it 2 or more")
        return torch.stack([uniformity_loss(view) for view in views]).mean()
