"""RandomResizeCrop against F.interpolate on the explicit zero canvas, one clip at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional

from byol_a.augment import CropParams, RandomResizeCrop, RandomResizeCropConfig, resize_matrix
from byol_a.errors import ByolaError

F, T = 64, 96


def reference(x: Tensor, params: CropParams, canvas_size: tuple[int, int]) -> Tensor:
    """The definition: canvas, crop, F.interpolate, clip by clip; x (B, F, T)."""
    (rows, columns), (n_mels, n_frames) = canvas_size, x.shape[-2:]
    down, right = (rows - n_mels) // 2, (columns - n_frames) // 2
    results = []
    for clip, top, left, height, width in zip(x, params.top, params.left, params.height, params.width, strict=True):
        canvas = x.new_zeros(canvas_size)
        canvas[down : down + n_mels, right : right + n_frames] = clip
        crop = canvas[top : top + height, left : left + width]
        results.append(
            functional.interpolate(crop[None, None], size=(n_mels, n_frames), mode="bicubic", align_corners=True)
        )
    return torch.cat(results)[:, 0]


@pytest.mark.parametrize(
    ("size", "scale", "canvas"),
    [
        ((64, 96), (0.6, 1.5), (1.0, 1.5)),
        ((17, 31), (0.05, 2.0), (1.3, 2.0)),  # odd sizes, margins in both directions, crops of one bin
        ((5, 4), (0.1, 1.5), (1.0, 1.5)),
        ((1, 7), (0.6, 1.5), (1.0, 1.5)),  # one output row
    ],
)
def test_equals_interpolation_of_the_canvas(size, scale, canvas):
    crop = RandomResizeCrop(RandomResizeCropConfig(scale, scale, canvas), *size)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, *size, generator=generator, dtype=torch.float64)
    params = crop.draw(64, generator)
    expected = reference(x, params, crop.canvas_size)
    torch.testing.assert_close(crop.apply(x, params), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(crop.apply(x.float(), params), expected.float(), rtol=1e-5, atol=1e-5)


def test_smallest_and_largest_crops():
    crop = RandomResizeCrop(RandomResizeCropConfig(), F, T)
    x = torch.randn(6, F, T, dtype=torch.float64)
    params = CropParams(
        top=torch.tensor([0, 63, 0, 10, 0, 0]),
        left=torch.tensor([0, 143, 24, 0, 120, 0]),
        height=torch.tensor([1, 1, 64, 2, 64, 64]),
        width=torch.tensor([1, 1, 96, 24, 24, 144]),
    )
    result = crop.apply(x, params)
    torch.testing.assert_close(result, reference(x, params, crop.canvas_size), rtol=0, atol=1e-12)
    torch.testing.assert_close(result[2], x[2], rtol=0, atol=1e-12)  # the crop that is the input itself
    assert not result[3:5].any()  # crops of the margins alone


def test_golden(golden: Callable[[str], Mapping[str, np.ndarray]]):
    numbers = golden("augment")
    params = CropParams(*torch.from_numpy(numbers["rrc_params_i_j_h_w"]).unbind(1))
    x, expected = (torch.from_numpy(numbers[name])[:, 0] for name in ("x", "rrc_out"))
    result = RandomResizeCrop(RandomResizeCropConfig(), F, T).apply(x, params)
    # The golden crop was resized in float32, whose positions are off by up to 1e-5 of a frame.
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-4)


def test_rows_of_the_matrix_sum_to_one_inside_the_input():
    start, size = torch.tensor([0, 3, 9]), torch.tensor([10, 4, 1])
    weights = resize_matrix(start, size, n_in=10, n_out=8, dtype=torch.float64)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 8, dtype=torch.float64))
    outside = resize_matrix(torch.tensor([-5, 10]), torch.tensor([5, 3]), n_in=10, n_out=8, dtype=torch.float64)
    assert not outside.any()


def test_views_share_the_code_path_of_single_batches():
    crop = RandomResizeCrop(RandomResizeCropConfig(), F, T)
    params = crop.draw((2, 5), torch.Generator().manual_seed(1))
    x = torch.randn(2, 5, F, T, dtype=torch.float64)
    both = crop.apply(x, params)
    for view in range(2):
        own = CropParams(params.top[view], params.left[view], params.height[view], params.width[view])
        torch.testing.assert_close(both[view], crop.apply(x[view], own), rtol=0, atol=1e-13)


def test_drawn_crops_follow_their_distribution():
    crop = RandomResizeCrop(RandomResizeCropConfig(), F, T)
    params = crop.draw(40_000, torch.Generator().manual_seed(0))
    top, left, height, width = (value.numpy() for value in (params.top, params.left, params.height, params.width))
    assert crop.canvas_size == (64, 144)
    assert (height.min(), height.max(), width.min(), width.max()) == (38, 64, 57, 143)
    assert (top >= 0).all() and (top + height <= 64).all() and (left >= 0).all() and (left + width <= 144).all()
    # floor(min(U(.6, 1.5), 1) 64) is 64 five times in nine. A floor plus a uniform is continuous again.
    assert abs((height == 64).mean() - 5 / 9) < 0.01
    jitter = np.random.default_rng(0).uniform(size=(4, height.size))
    below = height < 64
    assert stats.kstest((height + jitter[0])[below], stats.uniform(38.4, 64 - 38.4).cdf).statistic < 0.03
    assert stats.kstest(width + jitter[1], stats.uniform(57.6, 144 - 57.6).cdf).statistic < 0.01
    # The corner is uniform over the places that the size leaves.
    assert stats.kstest((left + jitter[2]) / (144 - width + 1), "uniform").pvalue > 1e-3
    assert stats.kstest(((top + jitter[3]) / (64 - height + 1)), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(left / (144 - width), width)[0, 1]) < 0.02


def test_sizes_stay_on_the_canvas_whatever_the_scale():
    crop = RandomResizeCrop(RandomResizeCropConfig((0.001, 9.0), (0.001, 9.0), (1.0, 1.0)), 8, 9)
    params = crop.draw(2000, torch.Generator().manual_seed(0))
    assert int(params.height.min()) == int(params.width.min()) == 1
    assert (int(params.height.max()), int(params.width.max())) == (8, 9)
    assert bool((params.top + params.height <= 8).all()) and bool((params.left + params.width <= 9).all())


def test_gradient():
    crop = RandomResizeCrop(RandomResizeCropConfig(), 4, 5)
    params = crop.draw(2, torch.Generator().manual_seed(0))
    x = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: crop.apply(x, params), (x,))


def test_autocast_does_not_touch_the_crop():
    crop = RandomResizeCrop(RandomResizeCropConfig(), F, T)
    params = crop.draw(3, torch.Generator().manual_seed(0))
    x = torch.randn(3, F, T)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = crop.apply(x, params)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, crop.apply(x, params))


def test_clips_of_another_size_are_refused():
    crop = RandomResizeCrop(RandomResizeCropConfig(), F, T)
    with pytest.raises(ByolaError, match=r"\(64, 96\).*\(64, 97\)"):
        crop.apply(torch.zeros(2, F, T + 1), crop.draw(2, torch.Generator()))
