"""Both views together: the definition clip by clip, reproducibility, slices, checkpoints."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from byol_a.augment import (
    AugmentConfig,
    FaderConfig,
    GaussianMixingConfig,
    MixupConfig,
    RandomResizeCropConfig,
    ViewParams,
    Views,
)

F, T, B = 16, 24, 12
V2 = AugmentConfig(mixup=MixupConfig(memory=30))
V1 = AugmentConfig(mixup=MixupConfig(max_ratio=0.4, memory=30), fader=None)
ALL = AugmentConfig(mixup=MixupConfig(memory=30), gaussian=GaussianMixingConfig())
NOTHING = AugmentConfig(None, None, None, None, post_norm=False)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tensors(params: ViewParams) -> Iterator[tuple[str, Tensor]]:
    """Every drawn tensor with its dotted name."""
    for part in fields(params):
        drawn = getattr(params, part.name)
        if drawn is not None:
            for field in fields(drawn):
                yield f"{part.name}.{field.name}", getattr(drawn, field.name)


def assert_same(left: ViewParams, right: ViewParams) -> None:
    for (name, a), (_, b) in zip(tensors(left), tensors(right), strict=True):
        assert torch.equal(a, b), name


def reference_view(x: Tensor, view: int, clip: int, params: ViewParams, memory: list[Tensor]) -> Tensor:
    """One view of one clip in float64, straight from the definitions; memory in slot order."""
    eps = torch.finfo(torch.float32).eps
    x = x.double()
    if params.gaussian is not None:
        ratio = params.gaussian.ratio[view, clip].double()
        noise = ratio * params.gaussian.noise[view, clip].double()
        x = ((1 - ratio) * x.exp() + noise.exp() + eps).log()
    if memory:
        assert params.mixup is not None
        a = params.mixup.ratio[view, clip].double()
        z = memory[int(params.mixup.partner[view, clip] * len(memory))].double()
        x = ((1 - a) * x.exp() + a * z.exp() + eps).log()
    crop = params.random_resize_crop
    assert crop is not None
    canvas = functional.pad(x, (T // 4, T // 4))  # (F, 1.5 T)
    top, left, height, width = (int(value[view, clip]) for value in (crop.top, crop.left, crop.height, crop.width))
    span = canvas[top : top + height, left : left + width][None, None]
    x = functional.interpolate(span, size=(F, T), mode="bicubic", align_corners=True)[0, 0]
    if params.fader is not None:
        start, end = params.fader.start[view, clip].item(), params.fader.end[view, clip].item()
        x = x + torch.linspace(start, end, T, dtype=torch.float64)
    return x


@pytest.mark.parametrize("config", [V1, V2, ALL], ids=["v1", "v2", "all"])
def test_equals_the_definition_clip_by_clip(config):
    views, generator = Views(config, F, T), rng()
    slots: dict[int, Tensor] = {}
    for step in range(5):  # the memory of 30 is empty, then partly full, then wraps
        x = torch.randn(B, F, T, generator=generator)
        params = views.draw(B, generator)
        memory = [slots[slot] for slot in sorted(slots)]
        expected = torch.stack(
            [torch.stack([reference_view(x[i], view, i, params, memory) for i in range(B)]) for view in range(2)]
        )
        expected = (expected - expected.mean()) / expected.std()
        torch.testing.assert_close(views.apply(x, params).double(), expected, rtol=1e-5, atol=1e-5)
        slots.update({(step * B + i) % 30: x[i] for i in range(B)})


def test_memory_holds_the_last_unmixed_inputs_of_whole_batches():
    views, generator, reference = Views(ALL, F, T), rng(), deque(maxlen=30)
    assert views.mixup is not None
    for _ in range(4):
        x = torch.randn(B, F, T, generator=generator)
        views(x, generator)
        reference.extend(x)
    held = {clip.sum().item() for clip in views.mixup.memory}
    assert held == {clip.sum().item() for clip in reference}


def test_result_unpacks_and_flattens_to_both_views():
    views = Views(V2, F, T)
    both = views(torch.randn(B, F, T), rng())
    view1, view2 = both
    assert both.shape == (2, B, F, T) and both.is_contiguous()
    assert torch.equal(both.flatten(0, 1), torch.cat([view1, view2]))
    assert not torch.equal(view1, view2)


def test_post_norm_golden(golden: Callable[[str], Mapping[str, np.ndarray]]):
    numbers = golden("augment")
    batch, expected = (torch.from_numpy(numbers[name])[:, 0] for name in ("postnorm_in", "postnorm_out"))
    views = Views(AugmentConfig(None, None, None, None), *batch.shape[1:])
    view1, view2 = views(batch, rng())  # the same batch twice: the same mean, and a std but for the correction
    torch.testing.assert_close(view1, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(view1, view2)


def test_nothing_configured_gives_the_input_twice_in_memory_of_its_own():
    x = torch.randn(B, F, T)
    view1, view2 = Views(NOTHING, F, T)(x, rng())
    assert torch.equal(view1, x) and torch.equal(view2, x)
    view1.zero_()
    assert x.any() and view2.any()


def test_the_first_call_mixes_nothing():
    views = Views(AugmentConfig(MixupConfig(), None, None, None, post_norm=False), F, T)
    x = torch.randn(B, F, T)
    view1, view2 = views(x, rng())
    assert torch.equal(view1, x) and torch.equal(view2, x)
    assert not torch.equal(views(x, rng())[0], x)


@pytest.mark.parametrize("config", [V1, V2, ALL], ids=["v1", "v2", "all"])
def test_same_generator_same_views(config):
    views = Views(config, F, T)
    x = torch.randn(B, F, T)
    views(x, rng(1))
    twin, generator = copy.deepcopy(views), rng(2)
    generator.manual_seed(5)
    state = generator.get_state()
    first = views(x, generator)
    generator.set_state(state)
    assert torch.equal(first, twin(x, generator))
    assert not torch.equal(first, views(x, generator))


def test_draws_are_per_clip_and_per_view():
    params = Views(ALL, F, T).draw(4000, rng())
    for name, value in tensors(params):
        if name == "gaussian.noise":
            value = value[..., 0, 0]
        assert value.shape == (2, 4000), name
        view1, view2 = value.double().numpy()
        assert len(np.unique(view1)) > 1, name
        assert abs(np.corrcoef(view1, view2)[0, 1]) < 0.06, name
        assert abs(np.corrcoef(view1[:-1], view1[1:])[0, 1]) < 0.06, name


def test_slices_of_the_parameters_are_those_of_the_clips():
    config = AugmentConfig(mixup=MixupConfig(memory=30), gaussian=GaussianMixingConfig(), post_norm=False)
    views, generator = Views(config, F, T), rng()
    views(torch.randn(B, F, T, generator=generator), generator)
    x, params = torch.randn(B, F, T, generator=generator), views.draw(B, generator)
    # Each part finds the same memory.
    parts = [copy.deepcopy(views).apply(x[a : a + 4], params[a : a + 4]) for a in (0, 4, 8)]
    torch.testing.assert_close(torch.cat(parts, dim=1), views.apply(x, params), rtol=0, atol=1e-6)
    assert params.mixup is not None and len(params.mixup[4:8]) == 4


def test_draws_do_not_depend_on_the_memory():
    views = Views(ALL, F, T)
    before = views.draw(B, rng(7))
    views(torch.randn(B, F, T), rng())
    assert_same(before, views.draw(B, rng(7)))


def test_a_restored_run_continues_bit_for_bit():
    views, generator = Views(ALL, F, T), rng()
    for _ in range(4):
        views(torch.randn(B, F, T, generator=generator), generator)
    restored, twin = Views(ALL, F, T), torch.Generator()
    restored.load_state_dict(copy.deepcopy(views.state_dict()))
    twin.set_state(generator.get_state())
    for _ in range(3):
        x = torch.randn(B, F, T, generator=generator)
        assert torch.equal(x, torch.randn(B, F, T, generator=twin))
        assert torch.equal(views(x, generator), restored(x, twin))


def test_gradients_reach_the_input_through_everything():
    config = AugmentConfig(
        MixupConfig(memory=3), RandomResizeCropConfig(), FaderConfig(), GaussianMixingConfig(), post_norm=True
    )
    views = Views(config, 4, 6).double()
    views(torch.randn(3, 4, 6, dtype=torch.float64), rng())
    params = views.draw(2, rng(1))
    x = torch.randn(2, 4, 6, dtype=torch.float64, requires_grad=True)

    def apply(x: Tensor) -> Tensor:
        return copy.deepcopy(views).apply(x, params)  # each evaluation finds the same memory

    assert torch.autograd.gradcheck(apply, (x,))


def test_never_waits_for_the_device():
    """Fake tensors have no values: looking at one, or a shape that depended on one, would fail."""
    with FakeTensorMode():
        views = Views(ALL, F, T)
        for _ in range(4):
            assert views(torch.empty(B, F, T), rng()).shape == (2, B, F, T)


@pytest.mark.gpu
def test_cuda_equals_cpu_and_repeats_bit_for_bit():
    generator, device = rng(), torch.device("cuda")
    on_cpu, on_gpu, again = Views(ALL, F, T), Views(ALL, F, T).to(device), Views(ALL, F, T).to(device)
    for _ in range(4):
        x = torch.randn(B, F, T, generator=generator)
        params = on_cpu.draw(B, generator)
        expected, result = on_cpu.apply(x, params), on_gpu.apply(x.to(device), params)
        torch.testing.assert_close(result.cpu(), expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(result, again.apply(x.to(device), params))


@pytest.mark.gpu
def test_cuda_generator_draws_on_the_device_without_a_sync():
    views, generator = Views(ALL, F, T).cuda(), torch.Generator("cuda").manual_seed(0)
    x = torch.randn(B, F, T, device="cuda")
    views(x, generator)
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = views(x, generator)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert bool(result.isfinite().all())
