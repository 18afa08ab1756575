"""Random linear fader: the sound comes nearer or moves away over the clip."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from byol_a.augment.config import FaderConfig
from byol_a.augment.params import Batch, Params, uniform


@dataclass(frozen=True)
class FaderParams(Params):
    """Per clip, what is added to the first and to the last frame."""

    start: Tensor
    end: Tensor


class RandomLinearFader:
    """RLF of BYOL-A v2 (arXiv 2204.07402): add a straight line over time, each end of it U(-gain, gain)."""

    def __init__(self, config: FaderConfig) -> None:
        self.config = config

    def draw(self, batch: Batch, generator: torch.Generator) -> FaderParams:
        """Both ends of the line for `batch` clips."""
        gain = self.config.gain
        return FaderParams(start=uniform(batch, -gain, gain, generator), end=uniform(batch, -gain, gain, generator))

    def apply(self, x: Tensor, params: FaderParams) -> Tensor:
        """Fade x (..., F, T), whose leading dimensions are those of the parameters."""
        params = params.to(x.device)
        ramp = torch.linspace(0, 1, x.shape[-1], dtype=x.dtype, device=x.device)
        start, end = params.start.to(x.dtype)[..., None], params.end.to(x.dtype)[..., None]
        return x + torch.lerp(start, end, ramp)[..., None, :]  # (..., 1, T)
