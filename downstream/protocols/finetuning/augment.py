"""What a training batch goes through on the device: mixup with labels, random resize crop, SpecAugment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from byol_a.augment import RandomResizeCrop, log_mixture
from downstream.protocols.finetuning.spec_augment import SpecAugment

if TYPE_CHECKING:
    from downstream.protocols.finetune import FinetuneProtocol


class Augmentation:
    """The augmentations that the settings name, for clips of one size, with parameters of their own per clip."""

    def __init__(self, settings: FinetuneProtocol, n_mels: int, n_frames: int) -> None:
        crop, masks = settings.random_resize_crop, settings.spec_augment
        self.mixup = settings.mixup
        self.crop = None if crop is None else RandomResizeCrop(crop, n_mels, n_frames)
        self.spec_augment = None if masks is None else SpecAugment(masks, n_mels, n_frames)

    def __call__(self, x: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augment x (B, F, T), normalised log-mels, and its targets (B, C) from 0 to 1.

        Args:
            generator: on the device of `x`.
        """
        if self.mixup > 0:
            x, targets = mix(x, targets, self.mixup, generator)
        if self.crop is not None:
            x = self.crop.apply(x, self.crop.draw(len(x), generator))
        if self.spec_augment is not None:
            x = self.spec_augment.apply(x, *self.spec_augment.draw(len(x), generator))
        return x, targets


def mix(x: Tensor, targets: Tensor, max_ratio: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each clip mixed with another of its batch: mixup (Zhang et al. 2018, arXiv 1710.09412) in log-mels.

    Sounds are mixed as in BYOL-A, `log((1 - a) e^x + a e^z + eps)`, and targets as `(1 - a) x + a z`, with
    a ~ U(0, max_ratio).

    Args:
        x: (B, F, T) normalised log-mels.
        targets: (B, C) from 0 to 1.
    """
    device = generator.device
    partner = torch.randperm(len(x), generator=generator, device=device)
    ratio = max_ratio * torch.rand(len(x), generator=generator, device=device)
    energy = x.exp()
    mixed = log_mixture(energy, energy[partner], ratio[:, None, None])
    return mixed, torch.lerp(targets, targets[partner], ratio[:, None])
