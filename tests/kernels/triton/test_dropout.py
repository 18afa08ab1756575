import math

import pytest
import torch
from torch import Tensor

from byol_a.kernels import Kernels
from byol_a.kernels.cuda import CUDAKernels

from .maps import RELATIVE, TYPES, assert_near

SIZE = 20_003  # several draws of all lanes, and a rest


def kept(kernels: Kernels, device: str, p: float, seed: int, size: int = SIZE) -> Tensor:
    return kernels.relu_dropout(torch.ones(size, device=device), p, seed) > 0


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_as_many_are_kept_as_asked_for_and_the_mean_stays(kernels: Kernels, device: str, p: float) -> None:
    y = kernels.relu_dropout(torch.ones(SIZE, device=device), p, 2**63 - 2)
    deviation = math.sqrt(p * (1 - p) / SIZE)
    assert abs(float((y > 0).double().mean()) - (1 - p)) < 4 * deviation
    assert abs(float(y.double().mean()) - 1) < 4 * deviation / (1 - p)
    levels = round(p * 65536)
    assert_near(y[y > 0], torch.full(((y > 0).sum(),), 65536 / (65536 - levels)), 1e-6)


@pytest.mark.parametrize("dtype", TYPES)
def test_values_are_those_of_relu_and_gradients_follow_the_mask(
    kernels: Kernels, device: str, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, gradient = (torch.randn(3, 11, 48, generator=generator).to(device, dtype) for _ in range(2))
    y = kernels.relu_dropout(x, 0.25, 5)
    mask = kept(kernels, device, 0.25, 5, x.numel()).view(x.shape)
    assert_near(y, (x.double().relu() * mask / 0.75), RELATIVE[dtype])
    of_x = kernels.relu_dropout_backward(gradient, y, 0.25)
    assert of_x.dtype == dtype
    assert_near(of_x, gradient.double() * (mask & (x > 0)) / 0.75, RELATIVE[dtype])


def test_the_mask_is_a_function_of_seed_and_position_alone(kernels: Kernels, device: str) -> None:
    mask = kept(kernels, device, 0.5, 1)
    assert torch.equal(mask, kept(kernels, device, 0.5, 1))
    assert torch.equal(mask, kept(CUDAKernels(), device, 0.5, 1)), "it depends on the size of tiles"
    assert torch.equal(mask[:1001], kept(kernels, device, 0.5, 1, size=1001))
    for other in (0, 2, 16, 1 + 2**32, 1 + 2**62):
        agree = float((kept(kernels, device, 0.5, other, size=4096) == mask[:4096]).double().mean())
        assert abs(agree - 0.5) < 4 * 0.5 / math.sqrt(4096)


def test_neighbours_do_not_know_of_each_other(kernels: Kernels, device: str) -> None:
    """Along the memory, from eighth to eighth of a draw, and from draw to draw."""
    mask = kept(kernels, device, 0.5, 3).double() - 0.5
    for lag in (1, 2, 3, 8, 16, 1023, 1024, 1025, 2048, 4096, 8192):
        correlation = float((mask[lag:] * mask[:-lag]).mean()) * 4
        assert abs(correlation) < 4.5 / math.sqrt(SIZE - lag)


@pytest.mark.parametrize("seed", [1, 2**63 - 2])
def test_a_seed_may_wait_on_the_device(kernels: Kernels, device: str, seed: int) -> None:
    x = torch.randn(1000, device=device)
    held = torch.tensor(seed, device=device)
    assert torch.equal(kernels.relu_dropout(x, 0.3, held), kernels.relu_dropout(x, 0.3, seed))


@pytest.mark.parametrize("p", [0.0, 2**-16, 1.0])
def test_the_ends_of_the_range(kernels: Kernels, device: str, p: float) -> None:
    x = torch.rand(1000, device=device) + 0.5
    y = kernels.relu_dropout(x, p, 1)
    torch.testing.assert_close(y, x * (p < 1), rtol=1e-4, atol=0)
    assert_near(kernels.relu_dropout_backward(x, y, p), x * (p < 1), 1e-4)


def test_what_is_not_a_number_stays_so(kernels: Kernels, device: str) -> None:
    y = kernels.relu_dropout(torch.full((100,), torch.nan, device=device), 0.5, 1)
    assert torch.equal(y.isnan(), kept(kernels, device, 0.5, 1, size=100))
