import pytest
import torch
from torch import Tensor

from byol_a.kernels import Kernels

from .maps import RELATIVE, TYPES, assert_near, real


def problem(shape: tuple[int, int, int], dtype: torch.dtype) -> Tensor:
    """Few different values, so that many maxima are equal; features that are 0, and that are below 0, throughout."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).mul(4).round().div(4)
    x[:, :, 0], x[:, :, 1], x[:, :, 2] = 0.0, -1.0, 1.0
    return x.to(dtype)


def plain(x: Tensor) -> Tensor:
    return x.relu().amax(dim=1) + x.relu().mean(dim=1)


@pytest.mark.parametrize("shape", [(2, 23, 48), (1, 1, 16), (2, 70, 64)])
@pytest.mark.parametrize("dtype", TYPES)
def test_maximum_plus_mean_and_its_gradient_are_those_of_torch(
    kernels: Kernels, device: str, dtype: torch.dtype, shape: tuple[int, int, int]
) -> None:
    x = problem(shape, dtype)
    clips, _, features = shape
    joined = torch.full((clips, features + 32), torch.nan, dtype=real(dtype), device=device)
    out = joined[:, 16 : 16 + features]
    kernels.relu_pool_time(x.to(device), out)
    reference = x.double().requires_grad_()
    pooled = plain(reference)
    assert_near(out, pooled.detach(), 1e-12 if dtype == torch.float64 else 1e-6)
    assert int(joined.isnan().sum()) == clips * 32

    gradient = torch.randn(clips, features, generator=torch.Generator().manual_seed(1)).to(real(dtype))
    (expected,) = torch.autograd.grad(pooled, reference, gradient.double())
    joined[:, 16 : 16 + features] = gradient.to(device)
    found = kernels.relu_pool_time_backward(x.to(device), joined[:, 16 : 16 + features])
    assert found.dtype == dtype
    assert_near(found, expected, RELATIVE[dtype])


def test_what_is_not_a_number_stays_so(kernels: Kernels, device: str) -> None:
    x = torch.zeros(1, 23, 16, device=device)
    x[0, 20, 3] = torch.nan
    out = torch.empty(1, 16, device=device)
    kernels.relu_pool_time(x, out)
    assert out[0].isnan().tolist() == [feature == 3 for feature in range(16)]
