"""Dropout whose random numbers do not cost more than the layer before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LANES = 4  # 16-bit numbers in one 64-bit draw
LEVELS = 1 << 16


class Dropout(nn.Dropout):
    """`nn.Dropout`, several times faster on a CPU.

    There torch draws one Bernoulli number after the other on a single core, which takes a tenth of BYOL-A's
    training step. Here one 64-bit draw decides on four elements, each with 16 bits; so `p` is met to within
    1/131072. Elsewhere, and in evaluation mode, it is `nn.Dropout` itself.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Zero each element with probability `p` and scale the others by 1 / (1 - p), in training mode."""
        if not self.training or x.device.type != "cpu" or not 0 < self.p < 1:
            return super().forward(x)
        dropped = round(self.p * LEVELS)
        draws = torch.empty(-(-x.numel() // LANES), dtype=torch.int64).random_(-(2**63), None)
        lanes = draws.view(torch.int16)[: x.numel()].view(x.shape)
        mask = (lanes >= dropped - LEVELS // 2).to(x.dtype).mul_(LEVELS / (LEVELS - dropped))
        return x * mask
