"""Augmentation of whole batches on the device: parameters are drawn, may be looked at, then applied."""

from __future__ import annotations

from byol_a.augment.config import (
    AugmentConfig,
    FaderConfig,
    GaussianMixingConfig,
    MixupConfig,
    RandomResizeCropConfig,
)
from byol_a.augment.fader import FaderParams, RandomLinearFader
from byol_a.augment.gaussian import GaussianMixing, GaussianParams
from byol_a.augment.mixup import Mixup, MixupParams, log_mixture
from byol_a.augment.resize_crop import CropParams, RandomResizeCrop, resize_matrix
from byol_a.augment.views import ViewParams, Views

__all__ = [
    "AugmentConfig",
    "CropParams",
    "FaderConfig",
    "FaderParams",
    "GaussianMixing",
    "GaussianMixingConfig",
    "GaussianParams",
    "Mixup",
    "MixupConfig",
    "MixupParams",
    "RandomLinearFader",
    "RandomResizeCrop",
    "RandomResizeCropConfig",
    "ViewParams",
    "Views",
    "log_mixture",
    "resize_matrix",
]
