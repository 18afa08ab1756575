import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from byol_a.kernels import Kernels

from .maps import RELATIVE, TYPES, assert_near, embedded, real, time_major, untouched_around

SHAPES = [(3, 16, 12, 22), (2, 64, 8, 23), (5, 48, 7, 9), (1, 16, 2, 2)]


def coarse(shape: tuple[int, ...], levels: int, seed: int) -> Tensor:
    """Small whole numbers: products and sums are exact in every type, and many maxima are equal."""
    return torch.randint(-levels, levels + 1, shape, generator=torch.Generator().manual_seed(seed)).double()


def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.max_pool2d(F.conv2d(x, weight.view(-1, 1, 3, 3), bias, padding=1).relu(), 2)


def plain_gradients(x: Tensor, weight: Tensor, bias: Tensor, gradient: Tensor) -> list[Tensor]:
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    return list(torch.autograd.grad(plain(x, weight, bias), [weight, bias], gradient))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TYPES)
def test_convolution_norm_relu_and_pool_are_those_of_torch(
    kernels: Kernels, device: str, dtype: torch.dtype, shape: tuple[int, int, int, int]
) -> None:
    clips, channels, n_mels, n_frames = shape
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(clips, 1, n_mels, n_frames, generator=generator).to(real(dtype))
    weight = torch.randn(channels, 9, generator=generator).to(real(dtype))
    bias = torch.randn(channels, generator=generator).to(real(dtype))
    out = embedded(torch.full((clips, channels, n_mels // 2, n_frames // 2), 7.0, dtype=dtype, device=device))
    kernels.conv_relu_pool(x.to(device), weight.to(device), bias.to(device), out)
    assert_near(out, plain(x.double(), weight.double(), bias.double()), RELATIVE[dtype])
    assert untouched_around(out)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TYPES)
def test_gradients_go_where_the_first_maximum_was(
    kernels: Kernels, device: str, dtype: torch.dtype, shape: tuple[int, int, int, int]
) -> None:
    clips, channels, n_mels, n_frames = shape
    x = coarse((clips, 1, n_mels, n_frames), 2, seed=1)
    weight, bias = coarse((channels, 9), 1, seed=2), coarse((channels,), 3, seed=3)
    bias[0] = -100.0  # a channel that is never above 0
    gradient = coarse((clips, channels, n_mels // 2, n_frames // 2), 4, seed=4)
    expected = plain_gradients(x, weight, bias, gradient)
    inputs = [each.to(device, real(dtype)) for each in (x, weight, bias)]
    for lay_out in (embedded, time_major):
        found = kernels.conv_relu_pool_backward(*inputs, lay_out(gradient.to(device, dtype)))
        for actual, wanted in zip(found, expected, strict=True):
            assert actual.dtype == real(dtype)
            assert torch.equal(actual.double().cpu(), wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_of_any_numbers(kernels: Kernels, device: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(5)
    x, weight = (torch.randn(*shape, generator=generator).to(dtype) for shape in [(4, 1, 10, 23), (32, 9)])
    bias, gradient = (torch.randn(*shape, generator=generator).to(dtype) for shape in [(32,), (4, 32, 5, 11)])
    expected = plain_gradients(x.double(), weight.double(), bias.double(), gradient.double())
    found = kernels.conv_relu_pool_backward(*(each.to(device) for each in (x, weight, bias, gradient)))
    for actual, wanted in zip(found, expected, strict=True):
        assert_near(actual, wanted, RELATIVE[dtype])


def test_what_is_not_a_number_stays_so(kernels: Kernels, device: str) -> None:
    x = torch.ones(1, 1, 4, 8, device=device)
    x[0, 0, 0, 0] = torch.nan
    out = torch.empty(1, 2, 4, 16, device=device).permute(0, 3, 1, 2)
    kernels.conv_relu_pool(x, torch.ones(16, 9, device=device), torch.zeros(16, device=device), out)
    assert out[0, :, 0, 0].isnan().all() and not out[0, :, 0, 1:].isnan().any()


def test_weights_may_be_laid_out_tap_by_tap(kernels: Kernels, device: str) -> None:
    x = coarse((2, 1, 6, 8), 3, seed=6).float().to(device)
    weight, bias = coarse((16, 9), 3, seed=7).float().to(device), torch.zeros(16, device=device)
    outs = [torch.empty(2, 3, 4, 16, device=device).permute(0, 3, 1, 2) for _ in range(2)]
    kernels.conv_relu_pool(x, weight, bias, outs[0])
    kernels.conv_relu_pool(x, weight.t().contiguous().t(), bias, outs[1])
    assert torch.equal(*outs)
