import pytest
import torch
import torch.nn.functional as F

from byol_a.kernels import Kernels

from .maps import TYPES, assert_near, embedded, real


@pytest.mark.parametrize("shape", [(3, 1, 12, 22), (2, 1, 7, 23), (1, 1, 1, 1), (5, 1, 2, 3)])
@pytest.mark.parametrize("dtype", TYPES)
def test_patch_moments_are_those_of_the_unfolded_images(
    kernels: Kernels, device: str, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).add(0.3).to(dtype)
    patches = F.unfold(x.double(), 3, padding=1).movedim(1, 0).flatten(1)
    mean, products = kernels.patch_moments(x.to(device))
    assert mean.dtype == products.dtype == torch.float64
    relative = 1e-12 if dtype == torch.float64 else 1e-6
    assert_near(mean, patches.mean(dim=1), relative)
    assert_near(products, patches @ patches.t() / patches.shape[1], relative)
    assert torch.equal(products, products.t())


def test_patch_moments_of_a_view_of_a_batch(kernels: Kernels, device: str) -> None:
    x = torch.randn(4, 1, 6, 10, device=device)
    for strided in (x[1:3], x.transpose(2, 3)):
        for found, wanted in zip(
            kernels.patch_moments(strided), kernels.patch_moments(strided.contiguous()), strict=True
        ):
            assert torch.equal(found, wanted)


@pytest.mark.parametrize("shape", [(3, 16, 8, 12), (2, 64, 5, 23), (3, 48, 1, 1), (1, 16, 1, 1)])
@pytest.mark.parametrize("dtype", TYPES)
def test_channel_moments_are_mean_and_variance(
    kernels: Kernels, device: str, dtype: torch.dtype, shape: tuple[int, int, int, int]
) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).mul(3).sub(1).to(dtype)
    mean, variance = kernels.channel_moments(embedded(x.to(device)))
    assert mean.dtype == variance.dtype == real(dtype)
    relative = 1e-12 if dtype == torch.float64 else 1e-6
    assert_near(mean, x.double().mean(dim=(0, 2, 3)), relative)
    assert_near(variance, x.double().var(dim=(0, 2, 3), unbiased=False), relative)


@pytest.mark.parametrize("level", [0.0, 1e3, -1e4])
def test_variance_does_not_cancel(kernels: Kernels, device: str, level: float) -> None:
    """Around a mean far from 0, and where the first positions that are read lie far from all others."""
    x = torch.randn(4, 16, 8, 32, generator=torch.Generator().manual_seed(0)) + level
    x[0, :, :4] = level + 50.0
    _, variance = kernels.channel_moments(x.to(device).contiguous(memory_format=torch.channels_last))
    assert_near(variance, x.double().var(dim=(0, 2, 3), unbiased=False), 1e-5)


def test_constant_maps_have_no_variance(kernels: Kernels, device: str) -> None:
    mean, variance = kernels.channel_moments(torch.full((2, 5, 7, 16), 3.7, device=device).permute(0, 3, 1, 2))
    assert_near(mean, torch.full((16,), 3.7), 1e-6)
    assert (variance >= 0).all() and float(variance.max()) < 1e-11
