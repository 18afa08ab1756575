"""Layers with prepared weights are those of torch in float64, however they are computed."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from byol_a.kernels import kernels_for, why_none
from byol_a.kernels.build import load_library
from byol_a.kernels.products import Products, TileProducts, TorchProducts, products_for

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(why_none(CPU) is not None, reason=f"no kernels here: {why_none(CPU)}")
MAKERS = {
    "torch, float64": (lambda: TorchProducts(kernels_for(CPU), torch.float64), 1e-13),
    "torch, float32": (lambda: TorchProducts(kernels_for(CPU), torch.float32), 1e-6),
    "torch, bfloat16": (lambda: TorchProducts(kernels_for(CPU), torch.bfloat16), 2e-2),
    "tiles, float32": (lambda: TileProducts(torch.float32), 1e-6),
    "tiles, bfloat16": (lambda: TileProducts(torch.bfloat16), 1e-2),
}


@pytest.fixture(params=MAKERS)
def made(request: pytest.FixtureRequest) -> tuple[Products, float]:
    """Products, and how far they may be off, as a share of the largest value."""
    if request.param.startswith("tiles") and not load_library().tiles_allowed():
        pytest.skip("this processor has no matrix unit for bfloat16, or the system does not give it")
    make, tolerance = MAKERS[request.param]
    return make(), tolerance


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


# Fewer rows than are computed at once, and more; weights that go through in one piece, and in several.
@pytest.mark.parametrize("rows", [1, 33, 256, 300])
@pytest.mark.parametrize("sizes", [(32, 32, 32), (64, 1120, 96), (1184, 64, 32)])
def test_mlp(made: tuple[Products, float], rows: int, sizes: tuple[int, int, int]) -> None:
    products, tolerance = made
    inputs, hidden, outputs = sizes
    first = draw(hidden, inputs) * inputs**-0.5, draw(hidden)
    second = draw(outputs, hidden) * hidden**-0.5, draw(outputs)
    x = draw(rows, inputs)
    expected = F.linear(F.linear(x, *first).relu(), *second).relu()
    out = torch.full((rows + 1, outputs), -1.0, dtype=products.store)
    products.mlp(first, second)(x.to(products.store), out[:rows])
    assert (out[:rows].double() - expected).abs().max() <= tolerance * expected.abs().max()
    assert (out[rows] == -1).all()


@pytest.mark.parametrize("channels", [(32, 32), (64, 32), (32, 96)])
@pytest.mark.parametrize("size", [(2, 2), (3, 7), (8, 33), (5, 34), (6, 96)])
def test_convolution(made: tuple[Products, float], channels: tuple[int, int], size: tuple[int, int]) -> None:
    products, tolerance = made
    inputs, outputs = channels
    height, width = size
    weight, bias = draw(outputs, inputs, 3, 3) * (9 * inputs) ** -0.5, draw(outputs)
    x = draw(2, inputs, height, width)
    expected = F.max_pool2d(F.conv2d(x, weight, bias, padding=1).relu(), 2)
    # Time before frequency in memory, and something between clips that is to stay.
    whole = torch.full((2, width // 2 + 1, height // 2, outputs), -1.0, dtype=products.store)
    out = whole[:, :-1].permute(0, 3, 2, 1)
    products.conv_relu_pool(weight, bias)(x.to(products.store, memory_format=torch.channels_last), out)
    assert (out.double() - expected).abs().max() <= tolerance * max(1.0, expected.abs().max().item())
    assert (whole[:, -1] == -1).all()


def test_three_parts_are_as_exact_as_float32() -> None:
    if not load_library().tiles_allowed():
        pytest.skip("this processor has no matrix unit for bfloat16, or the system does not give it")
    first, second = (draw(512, 1024) / 32, draw(512)), (draw(512, 512) / 23, draw(512))
    x = draw(400, 1024).exp()  # of very different sizes
    expected = F.linear(F.linear(x, *first).relu(), *second).relu()
    errors = []
    for products in (TileProducts(torch.float32), TorchProducts(kernels_for(CPU), torch.float32)):
        out = torch.empty(400, 512)
        products.mlp(first, second)(x.float(), out)
        errors.append((out.double() - expected).square().mean().sqrt().item())
    assert errors[0] < 2 * errors[1]


def test_the_tiles_are_for_what_fits_them() -> None:
    kernels = kernels_for(CPU)
    assert isinstance(products_for(kernels, torch.float64, [64]), TorchProducts)
    assert isinstance(products_for(kernels, torch.float32, [64, 48]), TorchProducts)
    found = products_for(kernels, torch.float32, [64, 96])
    assert isinstance(found, TileProducts if load_library().tiles_allowed() else TorchProducts)
