import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from byol_a.kernels import Kernels

from .maps import RELATIVE, TYPES, assert_near, embedded, real, time_major, untouched_around

SHAPES = [(3, 16, 8, 12), (2, 64, 5, 23), (3, 48, 4, 7), (1, 16, 3, 2)]


def problem(shape: tuple[int, int, int, int], dtype: torch.dtype, device: str) -> tuple[Tensor, ...]:
    """A map of few different values, so that many maxima are equal; scales of either sign and of 0; shifts."""
    generator = torch.Generator().manual_seed(0)
    clips, channels, height, width = shape
    x = (torch.randn(shape, generator=generator) * 4).round() / 4
    x[0] = 0.0
    scale, shift, slope, offset = torch.randn(4, channels, generator=generator)
    scale[0] = 0.0
    shift[0] = 1.0
    gradient = torch.randn(clips, channels, height // 2, width // 2, generator=generator)
    numbers = (each.to(device, real(dtype)) for each in (scale, shift, slope, offset))
    return x.to(device, dtype), gradient.to(device, dtype), *numbers


def plain(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return F.max_pool2d((x * scale[:, None, None] + shift[:, None, None]).relu(), 2)


def in_double(*tensors: Tensor) -> list[Tensor]:
    return [each.detach().cpu().double().contiguous().requires_grad_() for each in tensors]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TYPES)
def test_affine_relu_and_pool_are_those_of_torch(
    kernels: Kernels, device: str, dtype: torch.dtype, shape: tuple[int, int, int, int]
) -> None:
    x, gradient, scale, shift, _, _ = problem(shape, dtype, device)
    expected = plain(*in_double(x, scale, shift))
    outs = embedded(torch.zeros_like(gradient)), time_major(torch.zeros_like(gradient))
    for lay_out, out in zip((embedded, time_major), outs, strict=True):
        kernels.affine_relu_pool(lay_out(x), scale, shift, out)
        assert_near(out, expected, RELATIVE[dtype])
    assert untouched_around(outs[0])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TYPES)
def test_sums_are_the_gradients_of_scale_and_shift(
    kernels: Kernels, device: str, dtype: torch.dtype, shape: tuple[int, int, int, int]
) -> None:
    x, gradient, scale, shift, _, _ = problem(shape, dtype, device)
    inputs = in_double(x, scale, shift)
    _, of_scale, of_shift = torch.autograd.grad(plain(*inputs), inputs, in_double(gradient)[0])
    found = kernels.affine_relu_pool_sums(embedded(x), scale, shift, embedded(gradient))
    for actual, wanted in zip(found, (of_shift, of_scale), strict=True):
        assert actual.dtype == real(dtype)
        assert_near(actual, wanted, 1e-12 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", TYPES)
def test_gradient_of_the_map(
    kernels: Kernels, device: str, dtype: torch.dtype, shape: tuple[int, int, int, int]
) -> None:
    x, gradient, scale, shift, slope, offset = problem(shape, dtype, device)
    inputs = in_double(x, scale, shift)
    of_x, *_ = torch.autograd.grad(plain(*inputs), inputs, in_double(gradient)[0])
    of_x += in_double(slope)[0][:, None, None] * inputs[0] + in_double(offset)[0][:, None, None]
    out = embedded(torch.zeros_like(x))
    kernels.affine_relu_pool_backward(embedded(x), scale, shift, time_major(gradient), slope, offset, out)
    assert_near(out, of_x, RELATIVE[dtype])
    assert untouched_around(out)


def test_gradients_may_be_expanded(kernels: Kernels, device: str) -> None:
    x, gradient, scale, shift, _, _ = problem((2, 16, 4, 6), torch.float32, device)
    ones = torch.ones((), device=device).expand_as(gradient)
    found = kernels.affine_relu_pool_sums(x, scale, shift, ones)
    wanted = kernels.affine_relu_pool_sums(x, scale, shift, torch.ones_like(gradient))
    assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))


def test_channels_that_are_no_multiple_are_refused(kernels: Kernels, device: str) -> None:
    x, out = torch.zeros(1, 24, 4, 4, device=device), torch.zeros(1, 24, 2, 2, device=device)
    with pytest.raises(ValueError, match="multiples of 16, not 24"):
        kernels.affine_relu_pool(x, torch.ones(24), torch.ones(24), out)
