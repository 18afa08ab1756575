"""Mixup's arithmetic against float64, its memory against a deque."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from scipy import stats

from byol_a.augment import Mixup, MixupConfig, MixupParams, log_mixture
from byol_a.errors import ByolaError

F, T = 3, 4
EPS = torch.finfo(torch.float32).eps


def clips(first: int, count: int) -> torch.Tensor:
    """Clips that can be told apart: clip n is filled with n."""
    return torch.arange(first, first + count, dtype=torch.float32)[:, None, None].expand(count, F, T)


def test_golden(golden: Callable[[str], Mapping[str, np.ndarray]]):
    numbers = golden("augment")
    x, z, expected = (torch.from_numpy(numbers[name])[:, 0] for name in ("x", "mix_z", "mix_out"))
    mixup = Mixup(MixupConfig(max_ratio=0.4, memory=4), *x.shape[1:])
    mixup.push(z)
    partner = (torch.arange(4) + 0.5) / 4
    result = mixup.apply(x, MixupParams(torch.from_numpy(numbers["mix_alpha"]), partner))
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


def test_equals_the_formula_clip_by_clip():
    generator = torch.Generator().manual_seed(0)
    mixup = Mixup(MixupConfig(max_ratio=1.0, memory=8), F, T)
    memory = 5 * torch.randn(6, F, T, generator=generator)
    mixup.push(memory)
    x = 5 * torch.randn(50, F, T, generator=generator)
    params = mixup.draw(50, generator)
    result = mixup.apply(x, params)
    for i in range(50):
        a, z = params.ratio[i].double(), memory[int(params.partner[i] * 6)].double()
        expected = ((1 - a) * x[i].double().exp() + a * z.exp() + EPS).log()
        torch.testing.assert_close(result[i].double(), expected, rtol=1e-6, atol=1e-6)


def test_precise_for_tiny_ratios_and_loud_partners():
    x, z = torch.tensor([-8.0]), torch.tensor([8.0])
    for ratio in (1e-8, 1e-4, 0.4, 0.6, 1 - 2**-20):
        a = torch.tensor([ratio], dtype=torch.float32)
        expected = ((1 - a.double()) * x.double().exp() + a.double() * z.double().exp() + EPS).log()
        torch.testing.assert_close(log_mixture(x.exp(), z.exp(), a).double(), expected, rtol=1e-6, atol=1e-6)


def test_an_empty_memory_mixes_nothing():
    mixup = Mixup(MixupConfig(), F, T)
    x = torch.randn(5, F, T)
    assert torch.equal(mixup.apply(x, mixup.draw(5, torch.Generator())), x)
    assert mixup.filled == 0


def test_memory_is_a_fifo_of_the_last_clips():
    size, first = 10, 0
    mixup, reference = Mixup(MixupConfig(memory=size), F, T), deque(maxlen=size)
    for count in (3, 4, 0, 3, 1, 9, 10, 11, 25, 7, 40):  # wraps, an empty batch, batches beyond the memory
        batch = clips(first, count)
        mixup.push(batch)
        reference.extend(range(first, first + count))
        first += count
        assert mixup.filled == len(reference)
        held = mixup.memory[: mixup.filled, 0, 0]
        assert sorted(held.tolist()) == sorted(reference)
        assert torch.equal(mixup.memory[: mixup.filled], held[:, None, None].expand(-1, F, T))


def test_partners_are_uniform_over_what_is_remembered():
    mixup = Mixup(MixupConfig(max_ratio=1.0, memory=100), F, T)
    mixup.push(clips(0, 7))
    params = MixupParams(torch.ones(7000), mixup.draw(7000, torch.Generator().manual_seed(0)).partner)
    partner = mixup.apply(torch.zeros(7000, F, T), params)[:, 0, 0].round().long()
    assert stats.chisquare(torch.bincount(partner, minlength=7).numpy()).pvalue > 1e-3
    assert int(partner.max()) == 6


def test_the_last_partner_never_falls_off_the_end():
    mixup = Mixup(MixupConfig(memory=5), F, T)
    mixup.push(clips(0, 5))
    params = MixupParams(torch.ones(1), torch.tensor([1.0]))  # u * filled rounded up
    torch.testing.assert_close(mixup.apply(torch.zeros(1, F, T), params), clips(4, 1))


def test_drawn_parameters_are_uniform_and_do_not_depend_on_the_memory():
    mixup = Mixup(MixupConfig(max_ratio=0.4), F, T)
    params = mixup.draw(20_000, torch.Generator().manual_seed(3))
    assert stats.kstest(params.ratio.numpy(), stats.uniform(0, 0.4).cdf).pvalue > 1e-3
    assert stats.kstest(params.partner.numpy(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(params.ratio, params.partner)[0, 1]) < 0.03
    mixup.push(clips(0, 2))
    again = mixup.draw(20_000, torch.Generator().manual_seed(3))
    assert torch.equal(params.ratio, again.ratio) and torch.equal(params.partner, again.partner)


def test_a_restored_mixup_continues_bit_for_bit():
    generator = torch.Generator().manual_seed(0)
    mixup = Mixup(MixupConfig(memory=16), F, T)
    for _ in range(5):
        mixup.push(torch.randn(7, F, T, generator=generator))
    file = io.BytesIO()
    torch.save(mixup.state_dict(), file)
    file.seek(0)
    restored = Mixup(MixupConfig(memory=16), F, T)
    restored.load_state_dict(torch.load(file, weights_only=True))
    for _ in range(4):
        x, params = torch.randn(7, F, T, generator=generator), mixup.draw(7, generator)
        assert torch.equal(mixup.apply(x, params), restored.apply(x, params))
        mixup.push(x)
        restored.push(x)
    assert torch.equal(mixup.memory, restored.memory) and mixup.pushed == restored.pushed == 63


def test_a_batch_of_another_size_is_refused():
    mixup = Mixup(MixupConfig(), F, T)
    with pytest.raises(ByolaError, match=r"\(3, 4\).*\(2, 3, 5\)"):
        mixup.push(torch.zeros(2, 3, 5))


def test_gradient_reaches_the_input_and_not_the_memory():
    mixup = Mixup(MixupConfig(memory=4), F, T).double()
    x = torch.randn(2, F, T, dtype=torch.float64, requires_grad=True)
    mixup.push(x)
    params = mixup.draw(2, torch.Generator().manual_seed(0))
    assert not mixup.memory.requires_grad
    assert torch.autograd.gradcheck(lambda x: mixup.apply(x, params), (x,))
