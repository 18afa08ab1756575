"""Augmentation settings that make no sense are refused with the key's name."""

from __future__ import annotations

import pytest

from byol_a.augment import FaderConfig, GaussianMixingConfig, MixupConfig, RandomResizeCropConfig
from byol_a.errors import UsageError


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: MixupConfig(max_ratio=1.5), "mixup.max_ratio"),
        (lambda: MixupConfig(max_ratio=float("nan")), "mixup.max_ratio"),
        (lambda: MixupConfig(memory=0), "mixup.memory"),
        (lambda: RandomResizeCropConfig(freq_scale=(1.5, 0.6)), "freq_scale"),
        (lambda: RandomResizeCropConfig(time_scale=(0.0, 1.5)), "time_scale"),
        (lambda: RandomResizeCropConfig(virtual_crop_scale=(1.0, 0.5)), "virtual_crop_scale"),
        (lambda: FaderConfig(gain=-1.0), "fader.gain"),
        (lambda: GaussianMixingConfig(max_ratio=-0.1), "gaussian.max_ratio"),
    ],
)
def test_refused(make, key):
    with pytest.raises(UsageError, match=key):
        make()
