"""Each CPU kernel against torch's own layers in float64: odd sizes, ties, silence, negative scales, strides."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from byol_a.kernels import Kernels, kernels_for, why_none

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(kernels_for(CPU) is None, reason=f"the CPU has no kernels: {why_none(CPU)}")
TYPES = (torch.float64, torch.float32, torch.bfloat16)
# What storing rounds away, and what sums of some thousand rounded values do.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 5e-6, torch.bfloat16: 3e-3}
SIZES = ((3, 64, 96), (2, 17, 23), (1, 2, 2), (5, 8, 3))
C = 32


@pytest.fixture
def kernels() -> Kernels:
    found = kernels_for(CPU)
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def arithmetic(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def assert_near(found: Tensor, reference: Tensor, dtype: torch.dtype) -> None:
    """By the norm of the difference; NaN is never near."""
    error = (found.double() - reference).norm() / reference.norm().clamp(min=1e-30)
    assert error <= TOLERANCE[dtype], error


def a_map(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(*shape).to(dtype).contiguous(memory_format=torch.channels_last)


def poisoned(n: int, c: int, h: int, w: int, dtype: torch.dtype, time_major: bool = False) -> Tensor:
    """An output that is NaN where nothing is written."""
    if time_major:
        return torch.full((n, w, h, c), torch.nan, dtype=dtype).permute(0, 3, 2, 1)
    return torch.full((n, h, w, c), torch.nan, dtype=dtype).permute(0, 3, 1, 2)


def images(size: tuple[int, int, int], dtype: torch.dtype) -> dict[str, Tensor]:
    n, n_mels, n_frames = size
    noise = torch.randn(n, 1, n_mels, n_frames, dtype=dtype)
    return {"noise": noise, "silence": torch.zeros_like(noise), "ties": noise.round(), "offset": noise + 30}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["noise", "silence", "ties"])
def test_the_first_convolution_and_its_gradients(
    kernels: Kernels, dtype: torch.dtype, size: tuple[int, int, int], kind: str
) -> None:
    x = images(size, arithmetic(dtype))[kind]
    weight, bias = torch.randn(C, 9, dtype=x.dtype), torch.randn(C, dtype=x.dtype)
    if kind == "ties":  # sums that are exact, so that the reference's ties are ties here
        weight, bias = weight.round(), bias.round()
    out = poisoned(len(x), C, size[1] // 2, size[2] // 2, dtype)
    kernels.conv_relu_pool(x, weight, bias, out)

    weight64, bias64 = weight.double().requires_grad_(), bias.double().requires_grad_()
    reference = F.max_pool2d(F.relu(F.conv2d(x.double(), weight64.view(C, 1, 3, 3), bias64, padding=1)), 2)
    assert_near(out, reference.detach(), dtype)

    gradient = a_map(*out.shape, dtype=dtype)
    found = kernels.conv_relu_pool_backward(x, weight, bias, gradient)
    for ours, theirs in zip(found, torch.autograd.grad(reference, (weight64, bias64), gradient.double()), strict=True):
        assert_near(ours, theirs, torch.float32 if dtype == torch.bfloat16 else dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["noise", "silence", "offset"])
def test_moments_of_patches(kernels: Kernels, dtype: torch.dtype, size: tuple[int, int, int], kind: str) -> None:
    x = images(size, dtype)[kind]
    patches = F.unfold(x.double(), 3, padding=1).transpose(0, 1).flatten(start_dim=1)
    mean, products = kernels.patch_moments(x)
    assert_near(mean, patches.mean(dim=1), dtype)
    assert_near(products, patches @ patches.T / patches.shape[1], dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_moments_of_channels(kernels: Kernels, dtype: torch.dtype, size: tuple[int, int, int], offset: float) -> None:
    """A mean of a hundred deviations costs no digits of the variance."""
    x = a_map(size[0], C, *size[1:], dtype=dtype) + offset
    mean, variance = kernels.channel_moments(x)
    reference = x.double().var(dim=(0, 2, 3), unbiased=False), x.double().mean(dim=(0, 2, 3))
    fine = dtype == torch.float64
    torch.testing.assert_close(variance.double(), reference[0], rtol=1e-9 if fine else 1e-4, atol=1e-12)
    torch.testing.assert_close(mean.double(), reference[1], rtol=1e-12 if fine else 1e-6, atol=1e-12 if fine else 1e-6)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("kind", ["noise", "ties", "silence"])
def test_affine_relu_pool_and_its_gradients(
    kernels: Kernels, dtype: torch.dtype, size: tuple[int, int, int], time_major: bool, kind: str
) -> None:
    n, height, width = size
    x = a_map(n, C, height, width, dtype=dtype)
    x = {"noise": x, "ties": x.round(), "silence": torch.zeros_like(x)}[kind]
    scale, shift, slope, offset = torch.randn(4, C, dtype=arithmetic(dtype))
    if kind == "ties":
        scale, shift = scale.round(), shift.round()
    out = poisoned(n, C, height // 2, width // 2, dtype, time_major)
    kernels.affine_relu_pool(x, scale, shift, out)

    x64, scale64, shift64 = (each.double().requires_grad_() for each in (x, scale, shift))
    line = x64 * scale64.view(1, -1, 1, 1) + shift64.view(1, -1, 1, 1)
    reference = F.max_pool2d(F.relu(line), 2)
    assert_near(out, reference.detach(), dtype)

    gradient = torch.empty_like(out).copy_(torch.randn(out.shape))
    of_x, of_scale, of_shift = torch.autograd.grad(reference, (x64, scale64, shift64), gradient.double())
    sums = kernels.affine_relu_pool_sums(x, scale, shift, gradient)
    real = torch.float32 if dtype == torch.bfloat16 else dtype
    assert_near(sums[0], of_shift, real)
    assert_near(sums[1], of_scale, real)
    found = poisoned(n, C, height, width, dtype)
    kernels.affine_relu_pool_backward(x, scale, shift, gradient, slope, offset, found)
    line = slope.double().view(1, -1, 1, 1) * x64.detach() + offset.double().view(1, -1, 1, 1)
    assert_near(found, of_x + line, dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(5, 23, 64), (7,), (3, 16385)])
@pytest.mark.parametrize("p", [0.1, 0.3])
def test_relu_dropout(kernels: Kernels, dtype: torch.dtype, shape: tuple[int, ...], p: float) -> None:
    x = torch.randn(shape).to(dtype)
    y = kernels.relu_dropout(x, p, seed=2**62 + 12345)
    kept = y != 0
    assert not kept[x <= 0].any()
    assert_near(y, torch.where(kept, x.double() / (1 - round(p * 65536) / 65536), 0.0), dtype)
    gradient = torch.randn(shape).to(dtype)
    found = kernels.relu_dropout_backward(gradient, y, p)
    assert_near(found, torch.where(kept, gradient.double() / (1 - round(p * 65536) / 65536), 0.0), dtype)


def masks(kernels: Kernels, seed: int, size: int = 1 << 18, p: float = 0.3) -> Tensor:
    return kernels.relu_dropout(torch.ones(size), p, seed) == 0


def test_masks_are_a_fair_function_of_seed_and_position(kernels: Kernels) -> None:
    """The rate within five deviations; neighbours, far positions and near seeds know nothing of each other."""
    mask = masks(kernels, 5)
    assert torch.equal(mask, masks(kernels, 5))
    size, p = len(mask), 0.3
    deviation = (p * (1 - p) / size) ** 0.5
    assert abs(mask.double().mean() - p) < 5 * deviation
    centred = mask.double() - p
    for lag in (1, 2, 15, 16, 17, 32, 512, 2048, 16384):
        assert abs((centred[lag:] * centred[:-lag]).mean()) < 6 * p * (1 - p) / (size - lag) ** 0.5, lag
    for other in (4, 6, 5 + (1 << 32), 5 + (1 << 62)):
        assert abs((centred * (masks(kernels, other).double() - p)).mean()) < 6 * p * (1 - p) / size**0.5, other


def test_a_mask_of_part_is_part_of_the_mask(kernels: Kernels) -> None:
    """So that it does not depend on blocks or threads."""
    assert torch.equal(masks(kernels, 9)[:33333], masks(kernels, 9, size=33333))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("ties", [False, True])
def test_relu_pool_time(kernels: Kernels, dtype: torch.dtype, ties: bool) -> None:
    x = torch.randn(5, 23, 64).to(dtype)
    x = x.round() if ties else x
    wide = torch.full((5, 100), torch.nan, dtype=arithmetic(dtype))
    kernels.relu_pool_time(x, wide[:, 20:84])
    assert wide.isnan().sum() == 5 * 36
    x64 = x.double().requires_grad_()
    reference = x64.relu().amax(dim=1) + x64.relu().mean(dim=1)
    assert_near(wide[:, 20:84], reference.detach(), torch.float32 if dtype == torch.bfloat16 else dtype)
    gradient = torch.randn(5, 64, dtype=arithmetic(dtype))
    (theirs,) = torch.autograd.grad(reference, x64, gradient.double())
    assert_near(kernels.relu_pool_time_backward(x, gradient), theirs, dtype)


@pytest.mark.parametrize("shape", [(33, 40, 50), (64, 100, 70), (300, 2100, 129), (5, 4200, 17), (1, 1, 1)])
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_products_of_matrices(
    kernels: Kernels, shape: tuple[int, int, int], transposed: tuple[bool, bool], dtype: torch.dtype
) -> None:
    """Of operands that bfloat16 holds, sums are exact to float32; storing the result as bfloat16 rounds it once."""
    if not kernels.multiplies:
        pytest.skip("needs a CPU with AMX tiles")
    m, k, n = shape
    a, b = torch.randn(m, k).bfloat16().to(dtype), torch.randn(k, n).bfloat16().to(dtype)
    a, b = (each.T.contiguous().T if turn else each for each, turn in zip((a, b), transposed, strict=True))
    for bias in (None, torch.randn(n)):
        reference = a.double() @ b.double() + (0 if bias is None else bias.double())
        assert_near(kernels.matmul(a, b, bias, torch.float32), reference, torch.float32)
        assert_near(kernels.matmul(a, b, bias, torch.bfloat16), reference, torch.bfloat16)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(1, 1), (129, 33), (1000, 64)])
def test_sums_of_columns(kernels: Kernels, dtype: torch.dtype, shape: tuple[int, int]) -> None:
    x = torch.randn(shape).to(dtype)
    assert_near(kernels.column_sums(x), x.double().sum(dim=0), torch.float32 if dtype == torch.bfloat16 else dtype)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_no_sum_depends_on_the_threads(kernels: Kernels, threads: int) -> None:
    x, c = torch.randn(7, 1, 16, 20), a_map(7, C, 16, 20, dtype=torch.bfloat16)
    weight, bias = torch.randn(C, 9), torch.randn(C)
    gradient = a_map(7, C, 8, 10, dtype=torch.bfloat16)
    work: list[Callable[[], tuple[Tensor, ...]]] = [
        lambda: kernels.patch_moments(x),
        lambda: kernels.conv_relu_pool_backward(x, weight, bias, gradient),
        lambda: kernels.channel_moments(c),
        lambda: kernels.affine_relu_pool_sums(c, bias, bias, gradient),
        lambda: (kernels.column_sums(torch.randn(999, 40, generator=torch.Generator().manual_seed(1))),),
    ]
    before = torch.get_num_threads()
    once = [each() for each in work]
    torch.set_num_threads(threads)
    try:
        again = [each() for each in work]
    finally:
        torch.set_num_threads(before)
    for first, second in zip(once, again, strict=True):
        assert all(map(torch.equal, first, second))
