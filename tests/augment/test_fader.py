"""The linear fader against its definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from scipy import stats

from byol_a.augment import FaderConfig, FaderParams, RandomLinearFader


def test_golden(golden: Callable[[str], Mapping[str, np.ndarray]]):
    numbers = golden("augment")
    x, expected = (torch.from_numpy(numbers[name])[:, 0] for name in ("x", "fader_out"))
    start, end = torch.from_numpy(numbers["fader_ends"]).unbind(1)
    result = RandomLinearFader(FaderConfig()).apply(x, FaderParams(start, end))
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


def test_equals_a_line_per_clip_and_leaves_its_input_alone():
    fader = RandomLinearFader(FaderConfig(gain=2.0))
    params = fader.draw(20, torch.Generator().manual_seed(0))
    x = torch.randn(20, 4, 9)
    before = x.clone()
    result = fader.apply(x, params)
    for i in range(20):
        line = np.linspace(params.start[i].item(), params.end[i].item(), 9)
        np.testing.assert_allclose(result[i].numpy(), before[i].numpy() + line, atol=1e-6)
    assert torch.equal(x, before)


def test_one_frame_takes_the_start():
    params = FaderParams(torch.tensor([0.5]), torch.tensor([-0.5]))
    assert RandomLinearFader(FaderConfig()).apply(torch.zeros(1, 2, 1), params).unique().tolist() == [0.5]


def test_ends_are_uniform_and_independent():
    params = RandomLinearFader(FaderConfig(gain=0.7)).draw(20_000, torch.Generator().manual_seed(1))
    for ends in (params.start, params.end):
        assert stats.kstest(ends.numpy(), stats.uniform(-0.7, 1.4).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(params.start, params.end)[0, 1]) < 0.03


def test_gradient():
    fader = RandomLinearFader(FaderConfig())
    params = fader.draw(2, torch.Generator().manual_seed(0))
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: fader.apply(x, params), (x,))
