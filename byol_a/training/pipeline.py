"""From a batch of waveforms to normalised, augmented views, whole batches on the device."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from byol_a.augment import ViewParams, Views
from byol_a.frontend import LogMel
from byol_a.normalize import NormStats, PreNorm, RunningNorm
from byol_a.training.config import PretrainConfig


class ViewPipeline(nn.Module):
    """LogMel, pre-normalisation, views. Its state dict holds the statistics and the mixup memory.

    Args:
        config: the run's configuration.
        stats: the training set's log-mel statistics; None for `normalization.kind: running`.
        n_views: V, the views of each clip that the method compares.
    """

    def __init__(self, config: PretrainConfig, stats: NormStats | None, n_views: int = 2) -> None:
        super().__init__()
        self.frontend = LogMel(config.frontend)
        self.normalize: PreNorm | RunningNorm
        if stats is not None:
            self.normalize = PreNorm(stats)
        else:
            batches = -(-config.normalization.crops // config.training.batch_size)
            self.normalize = RunningNorm(batches * config.training.accumulate)
        n_frames = self.frontend.frames_of(config.crop_samples)
        self.views = Views(config.augment, config.frontend.n_mels, n_frames, config.training.sync_batch_norm, n_views)
        self.frontend.fast = self.views.fast = config.training.fast != "off"

    def draw(self, batch: int, seed: int, step: int, device: torch.device) -> ViewParams:
        """The augmentation parameters of `batch` clips at a step: a function of (seed, step) on a kind of device."""
        generator = torch.Generator(device).manual_seed(mix_seeds(seed, step))
        return self.views.draw(batch, generator)

    @torch.no_grad()
    def forward(self, wave: Tensor, params: ViewParams) -> Tensor:
        """Waveforms (B, S) in [-1, 1] and the parameters of these B clips -> views (V, B, 1, F, T)."""
        log_mel = self.normalize(self.frontend(wave))
        views: Tensor = self.views.apply(log_mel, params)
        return views.unsqueeze(2)

    @property
    def stats(self) -> NormStats:
        """The statistics in use, as a model of this run must store them."""
        return self.normalize.stats()


def mix_seeds(*seeds: int) -> int:
    """One well-mixed 63-bit seed out of several numbers (splitmix64), so that neighbours share nothing."""
    mask = (1 << 64) - 1
    state = 0
    for seed in seeds:
        state = (state ^ (seed & mask)) + 0x9E3779B97F4A7C15 & mask
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & mask
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & mask
        state ^= state >> 31
    return state >> 1
