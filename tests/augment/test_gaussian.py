"""Gaussian mixing against its definition."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats

from byol_a.augment import GaussianMixing, GaussianMixingConfig

F, T = 4, 5


def test_equals_the_formula_clip_by_clip():
    gaussian = GaussianMixing(GaussianMixingConfig(), F, T)
    generator = torch.Generator().manual_seed(0)
    params = gaussian.draw(20, generator)
    x = torch.randn(20, F, T, generator=generator)
    result = gaussian.apply(x, params)
    for i in range(20):
        ratio, noise = params.ratio[i].double().item(), params.noise[i].double().numpy()
        mixture = (1 - ratio) * np.exp(x[i].double().numpy()) + np.exp(ratio * noise) + np.finfo(np.float32).eps
        np.testing.assert_allclose(result[i].numpy(), np.log(mixture), atol=1e-6)


def test_noise_is_normal_and_the_ratio_uniform():
    params = GaussianMixing(GaussianMixingConfig(max_ratio=0.3), F, T).draw(5000, torch.Generator().manual_seed(0))
    assert stats.kstest(params.ratio.numpy(), stats.uniform(0, 0.3).cdf).pvalue > 1e-3
    assert stats.kstest(params.noise.flatten().numpy(), "norm").pvalue > 1e-3


def test_gradient():
    gaussian = GaussianMixing(GaussianMixingConfig(), F, T)
    params = gaussian.draw(2, torch.Generator().manual_seed(0))
    x = torch.randn(2, F, T, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: gaussian.apply(x, params), (x,))
