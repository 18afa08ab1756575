"""Gaussian mixing, the augmentation that BYOL-A's ablation compares mixup with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from byol_a.augment.config import GaussianMixingConfig
from byol_a.augment.mixup import EPS
from byol_a.augment.params import Batch, Params, uniform


@dataclass(frozen=True)
class GaussianParams(Params):
    """Per clip: `ratio`, the weight taken from the clip, and standard normal `noise` (..., F, T)."""

    ratio: Tensor
    noise: Tensor


class GaussianMixing:
    """Gaussian mixing (arXiv 2103.06695, section IV): `log((1 - l) e^x + e^n + eps)`, l ~ U(0, max_ratio).

    n ~ N(0, l), drawn anew for each bin of each frame; l is its standard deviation [choice: N(0, l) can be
    read as sigma or as the variance].
    """

    def __init__(self, config: GaussianMixingConfig, n_mels: int, n_frames: int) -> None:
        self.config = config
        self.input_size = (n_mels, n_frames)

    def draw(self, batch: Batch, generator: torch.Generator) -> GaussianParams:
        """Weights and noise for `batch` clips."""
        ratio = uniform(batch, 0.0, self.config.max_ratio, generator)
        noise = torch.randn((*ratio.shape, *self.input_size), generator=generator, device=generator.device)
        return GaussianParams(ratio, noise)

    def apply(self, x: Tensor, params: GaussianParams) -> Tensor:
        """Mix noise into x (B, F, T), or (V, B, F, T).

        Parameters of shape (V, B) turn one x (B, F, T) into V views (V, B, F, T).
        """
        params = params.to(x.device)
        ratio = params.ratio.to(x.dtype)[..., None, None]
        noise = ratio * params.noise.to(x.dtype)
        return ((1 - ratio) * x.exp() + noise.exp() + EPS).log()
