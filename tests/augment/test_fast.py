"""Views by kernels equal those made step by step: in float64 to rounding, in float32 as exactly; memory bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from byol_a.augment import (
    AugmentConfig,
    CropParams,
    FaderConfig,
    GaussianMixingConfig,
    MixupConfig,
    RandomResizeCrop,
    RandomResizeCropConfig,
    ViewParams,
    Views,
)
from byol_a.augment import views as module
from byol_a.augment.mixup import MixupParams
from byol_a.errors import ByolaError
from byol_a.kernels import kernels_for, why_none

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(kernels_for(CPU) is None, reason=f"the CPU has no kernels: {why_none(CPU)}")
MIXUP, FADER = MixupConfig(memory=20), FaderConfig()
WILD = RandomResizeCropConfig((0.02, 2.0), (0.02, 2.0), (1.4, 2.0))  # one bin to the whole canvas, margins all round
CONFIGS = {
    "v1": AugmentConfig(MixupConfig(0.4, 20), RandomResizeCropConfig(), None),
    "v2": AugmentConfig(mixup=MIXUP),
    "all": AugmentConfig(MIXUP, WILD, FADER, GaussianMixingConfig()),
    "mixup": AugmentConfig(MIXUP, None, None, post_norm=False),
    "crop": AugmentConfig(None, WILD, None, post_norm=False),
    "fader": AugmentConfig(None, None, FADER, post_norm=False),
    "post-norm": AugmentConfig(None, None, None),
    "nothing": AugmentConfig(None, None, None, post_norm=False),
}
SIZES = ((64, 96), (17, 23), (5, 4), (1, 7), (3, 1), (16, 33))


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def both(
    config: AugmentConfig, *size: int, dtype: torch.dtype = torch.float64, n_views: int = 2
) -> tuple[Views, Views]:
    fast = Views(config, *size, n_views=n_views).to(dtype)
    plain = copy.deepcopy(fast)
    plain.fast = False
    return fast, plain


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", CONFIGS)
def test_both_paths_agree(name: str, size: tuple[int, int]) -> None:
    for seed in range(4):
        generator = rng(seed)
        fast, plain = both(CONFIGS[name], *size, n_views=1 + seed % 3)
        for _ in range(5):  # the memory of 20 is empty, then partly full, then wraps
            x = torch.randn(7, *size, generator=generator, dtype=torch.float64)
            params = fast.draw(7, generator)
            found, expected = fast.apply(x, params), plain.apply(x, params)
            assert found.is_contiguous()
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        state, reference = fast.state_dict(), plain.state_dict()
        assert all(
            torch.equal(value, state[key]) if isinstance(value, Tensor) else value == state[key]
            for key, value in reference.items()
        )


@pytest.mark.parametrize("size", [(64, 96), (17, 23)])
@pytest.mark.parametrize("name", ["v1", "v2", "all"])
def test_float32_is_as_exact_as_on_the_plain_path(name: str, size: tuple[int, int]) -> None:
    generator = rng()
    fast, plain = both(CONFIGS[name], *size, dtype=torch.float32)
    exact = copy.deepcopy(plain).double()
    for _ in range(3):
        x, params = torch.randn(30, *size, generator=generator), fast.draw(30, generator)
        expected = exact.apply(x.double(), params)
        of_fast, of_plain = (views.apply(x, params) - expected for views in (fast, plain))
        assert of_fast.abs().max() < 1e-5
        assert of_fast.square().mean() <= 1.1 * of_plain.square().mean()


def crops(*rows: tuple[int, int, int, int]) -> CropParams:
    """From (top, left, height, width) of each clip; one view."""
    return CropParams(*torch.tensor(rows)[None].unbind(-1))


def test_crops_that_stick_out_on_all_sides_and_crops_of_one_bin() -> None:
    size, canvas = (17, 23), (34, 46)  # margins of 8 and 11
    rows = [
        (0, 0, *canvas),  # the whole canvas
        (0, 0, 34, 10),  # a strip left of the input
        (0, 0, 8, 46),  # above it
        (25, 0, 9, 46),  # below it
        (0, 34, 34, 12),  # right of it
        (8, 11, 17, 23),  # the input itself
        (7, 10, 19, 25),  # one more on each side
        (8, 11, 1, 1),  # its first bin
        (24, 33, 1, 1),  # its last
        (7, 10, 1, 1),  # a bin of the margin
        (0, 0, 9, 12),  # its corner alone, by one bin
        (24, 33, 10, 13),
        (20, 20, 1, 20),  # a row
        (0, 22, 34, 1),  # a column
    ]
    crop = RandomResizeCrop(RandomResizeCropConfig(virtual_crop_scale=(2.0, 2.0)), *size)
    assert crop.canvas_size == canvas
    x = torch.randn(len(rows), *size, generator=rng(), dtype=torch.float64)
    config = AugmentConfig(None, RandomResizeCropConfig(virtual_crop_scale=(2.0, 2.0)), None, post_norm=False)
    fast, plain = both(config, *size, n_views=1)
    params = ViewParams(None, crops(*rows), None, None)
    (found,), (expected,) = fast.apply(x, params), plain.apply(x, params)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert not found[[1, 2, 3, 4, 9]].any()
    torch.testing.assert_close(found[5], x[5], rtol=0, atol=1e-12)
    assert torch.equal(found[7], x[7, 0, 0].expand(size)) and torch.equal(found[8], x[8, -1, -1].expand(size))


def test_mixing_what_is_very_loud_or_very_quiet() -> None:
    values = torch.tensor([-1000.0, -100.0, -88.0, -30.0, -15.9, -1.0, 0.0, 1.0, 20.0, 80.0, 87.0])
    grid = torch.cartesian_prod(values, values).reshape(-1, 2)  # (121, 2): own, partner
    config = AugmentConfig(MixupConfig(1.0, 1), None, None, post_norm=False)
    views = Views(config, 1, 1, n_views=1)
    for ratio in (0.0, 1e-6, 0.2, 1.0):
        for own, partner in grid:
            assert views.mixup is not None
            views.mixup.push(partner.view(1, 1, 1))
            params = ViewParams(MixupParams(torch.tensor([[ratio]]), torch.zeros(1, 1)), None, None, None)
            found = views.apply(own.view(1, 1, 1), params).double()
            a = torch.tensor(ratio).double()
            exact = ((1 - a) * own.double().exp() + a * partner.double().exp() + torch.finfo(torch.float32).eps).log()
            assert abs(found.item() - exact.item()) < 1e-6 * max(1.0, abs(exact.item()))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_so(value: float) -> None:
    fast, _ = both(AugmentConfig(MIXUP, None, FADER, post_norm=False), 4, 5, dtype=torch.float32)
    generator = rng()
    fast(torch.randn(3, 4, 5, generator=generator), generator)
    x = torch.randn(3, 4, 5, generator=generator)
    x[1, 2, 3] = value
    views = fast(x, generator)
    torch.testing.assert_close(views[:, 1, 2, 3], torch.full((2,), value), equal_nan=True)
    assert (~views.isfinite()).sum() == 2


def test_a_constant_batch_becomes_zeros() -> None:
    fast, _ = both(AugmentConfig(None, None, None), 17, 23, dtype=torch.float32)
    assert not fast(torch.full((5, 17, 23), 2.7), rng()).any()


@pytest.mark.usefixtures("_threads")
def test_the_number_of_threads_changes_nothing() -> None:
    results = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        fast, _ = both(CONFIGS["all"], 17, 23, dtype=torch.float32)
        generator = rng()
        results.append([fast(torch.randn(7, 17, 23, generator=generator), generator) for _ in range(3)])
    for other in results[1:]:
        assert all(torch.equal(*pair) for pair in zip(results[0], other, strict=True))


def test_a_restored_run_continues_bit_for_bit() -> None:
    views, generator = both(CONFIGS["v2"], 16, 24, dtype=torch.float32)[0], rng()
    for _ in range(4):
        views(torch.randn(7, 16, 24, generator=generator), generator)
    restored, twin = Views(CONFIGS["v2"], 16, 24), torch.Generator()
    restored.load_state_dict(copy.deepcopy(views.state_dict()))
    twin.set_state(generator.get_state())
    x = torch.randn(7, 16, 24, generator=generator)
    torch.randn(7, 16, 24, generator=twin)
    assert torch.equal(views(x, generator), restored(x, twin))


def _refuse(*arguments: object) -> Tensor:
    raise AssertionError("the fast path was taken")


def test_gradients_and_other_types_take_the_plain_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "make_views", _refuse)
    x = torch.randn(3, 4, 5, requires_grad=True)
    Views(CONFIGS["v2"], 4, 5)(x, rng()).square().sum().backward()
    assert x.grad is not None
    Views(CONFIGS["v2"], 4, 5)(x.detach().double(), rng())  # the memory is float32
    with pytest.raises(AssertionError):
        Views(CONFIGS["v2"], 4, 5)(x.detach(), rng())


@pytest.mark.parametrize("name", ["v2", "mixup", "crop"])
def test_clips_of_another_size_are_refused(name: str) -> None:
    views = Views(CONFIGS[name], 4, 5)
    with pytest.raises(ByolaError, match=r"\(4, 5\).*4, 6"):
        views(torch.randn(3, 4, 6), rng())


def test_parameters_of_another_batch_are_refused() -> None:
    views, generator = Views(CONFIGS["v2"], 4, 5), rng()
    views(torch.randn(3, 4, 5), generator)
    with pytest.raises(RuntimeError):
        views.apply(torch.randn(3, 4, 5), views.draw(4, generator))
