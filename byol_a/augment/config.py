"""What a run's augmentation is made of: one small dataclass per augmentation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from byol_a.errors import UsageError


def _check_range(name: str, bounds: tuple[float, float]) -> None:
    low, high = bounds
    if not (math.isfinite(low) and math.isfinite(high) and low <= high and low > 0):
        raise UsageError(f"{name} is {tuple(bounds)}; give two positive numbers, the smaller first")


def _check_ratio(name: str, ratio: float) -> None:
    if not 0 <= ratio <= 1:
        raise UsageError(f"{name} is {ratio}; give a number from 0 to 1")


@dataclass
class MixupConfig:
    """Log-mixup-exp: `max_ratio` is .4 in BYOL-A v1, .2 in v2; `memory` past clips are kept as partners."""

    max_ratio: float = 0.2
    memory: int = 2048

    def __post_init__(self) -> None:
        _check_ratio("mixup.max_ratio", self.max_ratio)
        if self.memory < 1:
            raise UsageError(f"mixup.memory is {self.memory}; give at least 1 clip, or leave mixup out")


@dataclass
class RandomResizeCropConfig:
    """Ranges of the crop's size relative to the input, and the zero canvas's size (frequency, time)."""

    freq_scale: tuple[float, float] = (0.6, 1.5)
    time_scale: tuple[float, float] = (0.6, 1.5)
    virtual_crop_scale: tuple[float, float] = (1.0, 1.5)

    def __post_init__(self) -> None:
        _check_range("random_resize_crop.freq_scale", self.freq_scale)
        _check_range("random_resize_crop.time_scale", self.time_scale)
        if not all(math.isfinite(scale) and scale >= 1 for scale in self.virtual_crop_scale):
            raise UsageError(
                f"random_resize_crop.virtual_crop_scale is {tuple(self.virtual_crop_scale)}; "
                "the canvas holds the whole input, so give two numbers of at least 1"
            )


@dataclass
class FaderConfig:
    """Random linear fader: each end of the line is U(-gain, gain), in units of the normalised log-mel."""

    gain: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.gain) and self.gain >= 0):
            raise UsageError(f"fader.gain is {self.gain}; give a number of at least 0")


@dataclass
class GaussianMixingConfig:
    """Mixing with Gaussian noise, v1's ablation: `max_ratio` bounds the weight and the noise's sigma."""

    max_ratio: float = 0.3

    def __post_init__(self) -> None:
        _check_ratio("gaussian.max_ratio", self.max_ratio)


@dataclass
class AugmentConfig:
    """The augmentations of each view, `None` for those left out; the defaults are BYOL-A v2's."""

    mixup: MixupConfig | None = field(default_factory=MixupConfig)
    random_resize_crop: RandomResizeCropConfig | None = field(default_factory=RandomResizeCropConfig)
    fader: FaderConfig | None = field(default_factory=FaderConfig)
    gaussian: GaussianMixingConfig | None = None
    post_norm: bool = True
