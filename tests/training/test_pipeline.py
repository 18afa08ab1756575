"""From waves to views: the fast path gives the plain one's views, and `training.fast` chooses between them."""

from __future__ import annotations

import pytest
import torch

from byol_a.config import apply_overrides, build
from byol_a.kernels import kernels_for, why_none
from byol_a.normalize import NormStats
from byol_a.training.config import PretrainConfig
from byol_a.training.pipeline import ViewPipeline

from .small import values

CPU = torch.device("cpu")


def pipeline(fast: str) -> ViewPipeline:
    config = build(PretrainConfig, apply_overrides(values(), [f"training.fast={fast}"]), "test")
    return ViewPipeline(config, NormStats(-7.0, 4.0)).train()


@pytest.mark.parametrize("fast", ["auto", "on", "off"])
def test_the_configuration_chooses(fast: str) -> None:
    made = pipeline(fast)
    assert (made.frontend.fast, made.views.fast) == (fast != "off", fast != "off")


@pytest.mark.skipif(kernels_for(CPU) is None, reason=f"the CPU has no kernels: {why_none(CPU)}")
def test_both_paths_give_the_same_views() -> None:
    fast, plain = pipeline("auto"), pipeline("off")
    for step in range(4):
        wave = 0.1 * torch.randn(8, 8000, generator=torch.Generator().manual_seed(step))  # half a second
        params = fast.draw(8, 0, step, CPU)
        found, expected = fast(wave, params), plain(wave, params)
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)
        assert not torch.equal(found, expected)
