"""SpecAugment: bands of frequency and stretches of time are hidden from the network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from byol_a.errors import UsageError


@dataclass(frozen=True)
class SpecAugmentConfig:
    """How many masks, and how much of the mel bins or frames one hides at most (from 0 to 1)."""

    freq_masks: int = 2
    freq_share: float = 0.15
    time_masks: int = 2
    time_share: float = 0.15

    def __post_init__(self) -> None:
        if self.freq_masks < 0 or self.time_masks < 0:
            raise UsageError("spec_augment.freq_masks and spec_augment.time_masks must be at least 0")
        if not (0 <= self.freq_share <= 1 and 0 <= self.time_share <= 1):
            raise UsageError("spec_augment.freq_share and spec_augment.time_share must be from 0 to 1")


@dataclass(frozen=True)
class Masks:
    """Where masks begin and how long they are, (B, masks) each, in mel bins or frames (int64)."""

    start: Tensor
    length: Tensor

    def cover(self, size: int) -> Tensor:
        """(B, size) bool: what any of a clip's masks hides."""
        place = torch.arange(size, device=self.start.device)
        begins, ends = self.start[..., None], (self.start + self.length)[..., None]
        return ((place >= begins) & (place < ends)).any(dim=1)


class SpecAugment:
    """SpecAugment (Park et al. 2019, arXiv 1904.08779) without its time warping.

    A mask's length is uniform from 0 to its share of the size, its place uniform. What is hidden is set to 0,
    the mean of normalised log-mels.
    """

    def __init__(self, config: SpecAugmentConfig, n_mels: int, n_frames: int) -> None:
        self.config = config
        self.input_size = (n_mels, n_frames)

    def draw(self, batch: int, generator: torch.Generator) -> tuple[Masks, Masks]:
        """Masks over frequency and over time for `batch` clips, on the generator's device."""
        config, (n_mels, n_frames) = self.config, self.input_size

        def masks(count: int, share: float, size: int) -> Masks:
            length_draw, place_draw = torch.rand((2, batch, count), generator=generator, device=generator.device)
            length = (length_draw * (int(share * size) + 1)).long().clamp_(max=int(share * size))
            room = size - length
            return Masks(torch.minimum((place_draw * (room + 1)).long(), room), length)

        return masks(config.freq_masks, config.freq_share, n_mels), masks(
            config.time_masks, config.time_share, n_frames
        )

    def apply(self, x: Tensor, freq: Masks, time: Masks) -> Tensor:
        """Hide what the masks cover of x (B, F, T), normalised log-mels."""
        hidden = freq.cover(x.shape[1])[:, :, None] | time.cover(x.shape[2])[:, None, :]
        return x.masked_fill(hidden, 0)
