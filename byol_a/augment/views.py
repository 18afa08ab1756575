"""The views of each clip that a method compares: which augmentations, in which order."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from byol_a.augment.config import AugmentConfig
from byol_a.augment.fader import FaderParams, RandomLinearFader
from byol_a.augment.fast import kernels_of, make_views
from byol_a.augment.gaussian import GaussianMixing, GaussianParams
from byol_a.augment.mixup import Mixup, MixupParams
from byol_a.augment.resize_crop import CropParams, RandomResizeCrop
from byol_a.normalize import post_norm


@dataclass(frozen=True)
class ViewParams:
    """All drawn parameters of a batch, each tensor (V views, B clips, ...); `None` where left out."""

    mixup: MixupParams | None
    random_resize_crop: CropParams | None
    fader: FaderParams | None
    gaussian: GaussianParams | None

    def to(self, device: torch.device | str) -> ViewParams:
        """The same parameters on `device`."""
        return replace(self, **{name: params.to(device) for name, params in self._drawn().items()})

    def __getitem__(self, clips: slice) -> ViewParams:
        """The parameters of some clips, `params[a:b]`: what one rank needs of a batch drawn whole."""
        return replace(self, **{name: params[clips] for name, params in self._drawn().items()})

    def _drawn(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: params for name, params in values.items() if params is not None}


class Views(nn.Module):
    """Random views of a batch of normalised log-mels: mixup, resize crop, linear fader, post-norm.

    Each is there if the configuration names it; the order is BYOL-A's (arXiv 2103.06695 and 2204.07402), with
    the ablation's Gaussian mixing in front [choice]. Parameters are drawn per clip and per view. All views
    draw mixup partners from the memory as it stood before the batch, then the batch is pushed once [choice].
    Post-norm takes all views together. The mixup memory is in the state dict.

    Where several processes share a batch, each keeps the memory of its own clips, and post-norm takes the
    process's own part of the batch [choice], or with `synchronized` the whole one.

    Args:
        n_views: V, views of each clip; most methods compare two.

    Attributes:
        fast: whether the device's kernels may be used where there are some.
    """

    fast: bool = True

    def __init__(
        self, config: AugmentConfig, n_mels: int, n_frames: int, synchronized: bool = False, n_views: int = 2
    ) -> None:
        super().__init__()
        self.config, self.synchronized, self.n_views = config, synchronized, n_views
        size = (n_mels, n_frames)
        crop = config.random_resize_crop
        self.gaussian = GaussianMixing(config.gaussian, *size) if config.gaussian is not None else None
        self.mixup = Mixup(config.mixup, *size) if config.mixup is not None else None
        self.random_resize_crop = RandomResizeCrop(crop, *size) if crop is not None else None
        self.fader = RandomLinearFader(config.fader) if config.fader is not None else None

    def draw(self, batch: int, generator: torch.Generator) -> ViewParams:
        """Parameters for all views of `batch` clips, on the generator's device.

        They depend on the generator and the configuration alone, not on the clips or on the mixup memory. A
        generator on the device of the clips saves copies from host to device.
        """
        size = (self.n_views, batch)
        crop = self.random_resize_crop
        return ViewParams(
            gaussian=self.gaussian.draw(size, generator) if self.gaussian is not None else None,
            mixup=self.mixup.draw(size, generator) if self.mixup is not None else None,
            random_resize_crop=crop.draw(size, generator) if crop is not None else None,
            fader=self.fader.draw(size, generator) if self.fader is not None else None,
        )

    def apply(self, x: Tensor, params: ViewParams) -> Tensor:  # type: ignore[override]
        """Make the views of x (B, F, T) and remember x for later mixups.

        Args:
            x: normalised log-mels.
            params: what `draw` gave for these B clips; what has no parameters is left out.

        Returns:
            (V, B, F, T), contiguous: it unpacks as `view1, view2`, and `.flatten(0, 1)` is all in a row.
        """
        views = x
        if self.gaussian is not None and params.gaussian is not None:
            views = self.gaussian.apply(views, params.gaussian)
        kernels = kernels_of(views, self.mixup) if self.fast else None
        if kernels is not None:
            return make_views(kernels, self, x, views, params)
        if self.mixup is not None and params.mixup is not None:
            views = self.mixup.apply(views, params.mixup)
            self.mixup.push(x)
        views = views.expand(self.n_views, *x.shape)
        if self.random_resize_crop is not None and params.random_resize_crop is not None:
            views = self.random_resize_crop.apply(views, params.random_resize_crop)
        if self.fader is not None and params.fader is not None:
            views = self.fader.apply(views, params.fader)
        if self.config.post_norm:
            views = post_norm(views.flatten(0, 1), self.synchronized).view(views.shape)
        return views.contiguous()

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Draw and apply: x (B, F, T) to its views (V, B, F, T)."""
        return self.apply(x, self.draw(len(x), generator))
