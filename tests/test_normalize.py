"""Normalisation statistics against NumPy, their merging, and the modules that use them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from byol_a.errors import ByolaError, UsageError
from byol_a.normalize import NormStats, PreNorm, RunningNorm, StatsAccumulator, mean_and_std, post_norm


def logmels(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 4 - 7


def numpy_stats(values: Tensor) -> tuple[float, float]:
    array = values.double().numpy()
    return float(array.mean()), float(array.std())


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan, math.inf])
def test_unusable_std_is_refused(std: float) -> None:
    with pytest.raises(UsageError, match="above 0"):
        NormStats(0.0, std)


def test_unusable_mean_is_refused() -> None:
    with pytest.raises(UsageError, match="finite mean"):
        NormStats(math.nan, 1.0)


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(lambda sizes: sum(sizes) > 1),
    offset=st.sampled_from([0.0, -7.0, 1e4]),
    seed=st.integers(0, 1000),
)
def test_accumulator_equals_numpy_however_the_values_are_split(sizes: list[int], offset: float, seed: int) -> None:
    parts = [logmels(size, 3, seed=seed + i) + offset for i, size in enumerate(sizes)]
    mean, std = numpy_stats(torch.cat(parts))

    one = StatsAccumulator()
    for part in parts:
        one.update(part)
    assert one.result().mean == pytest.approx(mean, rel=1e-12)
    assert one.result().std == pytest.approx(std, rel=1e-9)

    left, right = StatsAccumulator(), StatsAccumulator()
    for i, part in enumerate(parts):
        (left if i % 2 else right).update(part)
    left.merge(right)
    assert left.count == one.count == 3 * sum(sizes)
    assert left.result().mean == pytest.approx(mean, rel=1e-12)
    assert left.result().std == pytest.approx(std, rel=1e-9)


def test_accumulator_survives_a_large_offset() -> None:
    values = torch.randn(100_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 1e9
    accumulator = StatsAccumulator()
    for part in values.split(777):
        accumulator.update(part)
    # The mean of squares would have lost every digit of the variance here.
    assert accumulator.result().std == pytest.approx(numpy_stats(values)[1], rel=1e-7)


def test_accumulator_without_a_result_says_why() -> None:
    with pytest.raises(ByolaError, match="no log-mel values"):
        StatsAccumulator().result()
    with pytest.raises(ByolaError, match="silent"):
        silent = StatsAccumulator()
        silent.update(torch.full((3, 64, 96), -15.942385))
        silent.result()
    with pytest.raises(ByolaError, match="not finite"):
        broken = StatsAccumulator()
        broken.update(torch.tensor([1.0, math.nan]))
        broken.result()


def test_prenorm_normalises_and_travels_with_the_weights() -> None:
    x = logmels(5, 64, 96)
    mean, std = numpy_stats(x)
    norm = PreNorm(NormStats(mean, std))
    torch.testing.assert_close(norm(x), (x - mean) / std)
    assert numpy_stats(norm(x)) == pytest.approx((0, 1), abs=1e-5)
    other = PreNorm(NormStats(0.0, 1.0))
    other.load_state_dict(norm.state_dict())
    assert torch.equal(other(x), norm(x))
    assert (other.stats().mean, other.stats().std) == pytest.approx((mean, std), rel=1e-6)


def test_normalisation_is_differentiable_and_leaves_its_input_alone() -> None:
    x = logmels(2, 8, 9).double()
    for norm in (PreNorm(NormStats(-7.0, 4.0)).double(), post_norm):
        before = x.clone()
        norm(x)
        assert torch.equal(x, before)
        assert torch.autograd.gradcheck(norm, (x.clone().requires_grad_(),))


def test_running_norm_gathers_then_stays() -> None:
    norm = RunningNorm(max_updates=3)
    batches = [logmels(4, 16, 20, seed=seed) + seed for seed in range(5)]
    for i, batch in enumerate(batches):
        mean, std = numpy_stats(torch.cat(batches[: min(i + 1, 3)]))
        torch.testing.assert_close(norm(batch), (batch - mean) / std, atol=1e-5, rtol=1e-5)
    assert int(norm.updates) == 3
    mean, std = numpy_stats(torch.cat(batches[:3]))
    assert (norm.stats().mean, norm.stats().std) == pytest.approx((mean, std), rel=1e-9)


def test_running_norm_in_evaluation_uses_what_it_has() -> None:
    norm = RunningNorm(max_updates=3)
    with pytest.raises(ByolaError, match="no training batch"):
        norm.eval()(logmels(2, 4))
    first = logmels(2, 4)
    norm.train()(first)
    norm.eval()(logmels(50, 4, seed=9))
    assert int(norm.updates) == 1
    assert norm.stats().mean == pytest.approx(numpy_stats(first)[0], rel=1e-9)


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_running_norm_resumes_from_its_state(stop: int) -> None:
    batches = [logmels(4, 8, 8, seed=seed) for seed in range(5)]
    whole, first, second = RunningNorm(3), RunningNorm(3), RunningNorm(3)
    expected = [whole(batch) for batch in batches]
    for batch in batches[:stop]:
        first(batch)
    for batch in batches:  # a module already full must start afresh from the state it is given
        second(batch + 100)
    second.load_state_dict(first.state_dict())
    for batch, result in zip(batches[stop:], expected[stop:], strict=True):
        assert torch.equal(second(batch), result)


def test_running_norm_survives_a_silent_batch() -> None:
    assert torch.equal(RunningNorm(2)(torch.full((2, 3, 4), -15.9)), torch.zeros(2, 3, 4))


def test_running_norm_needs_at_least_one_update() -> None:
    with pytest.raises(UsageError, match="max_updates"):
        RunningNorm(0)


def moments(clips: int, seed: int) -> Tensor:
    """Count, mean and sum of squared deviations of each of some clips of 8 values."""
    values = logmels(clips, 8, seed=seed).double()
    variance, mean = torch.var_mean(values, dim=1, correction=0)
    return torch.stack([torch.full_like(mean, 8), mean, 8 * variance], dim=1)


def _norm_in_a_process(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    norm = RunningNorm(2)
    for step in range(3):
        norm(logmels(2 + rank, 8, seed=10 * step + rank))
    torch.save(norm.state_dict(), f"{folder}/{rank}.pt")
    torch.save(
        [mean_and_std(moments(2 + rank, seed=rank), flag) for flag in (True, False)], f"{folder}/{rank}-batch.pt"
    )
    torch.distributed.destroy_process_group()


def test_running_norm_gathers_over_processes(tmp_path: Path) -> None:
    processes = torch.multiprocessing.spawn(_norm_in_a_process, (str(tmp_path),), nprocs=2, join=False, daemon=True)
    deadline = time.monotonic() + 120
    while not processes.join(1):
        assert time.monotonic() < deadline
    seen = torch.cat([logmels(2 + rank, 8, seed=10 * step + rank) for step in range(2) for rank in range(2)])
    for rank in range(2):
        norm = RunningNorm(2)
        norm.load_state_dict(torch.load(tmp_path / f"{rank}.pt"))
        assert (norm.stats().mean, norm.stats().std) == pytest.approx(numpy_stats(seen), rel=1e-9)
    parts = [logmels(2 + rank, 8, seed=rank) for rank in range(2)]
    for rank in range(2):
        for batch, found in zip(
            (torch.cat(parts), parts[rank]), torch.load(tmp_path / f"{rank}-batch.pt"), strict=True
        ):
            assert [float(value) for value in found] == pytest.approx(
                [batch.double().mean().item(), batch.double().std().item()], rel=1e-9
            )


def test_post_norm_golden(golden: Callable[[str], Mapping[str, np.ndarray]]) -> None:
    numbers = golden("augment")
    result = post_norm(torch.from_numpy(numbers["postnorm_in"]))
    np.testing.assert_allclose(result, numbers["postnorm_out"], rtol=0, atol=4e-6)
    # In float64 only the unbiased estimate reproduces them.
    double = post_norm(torch.from_numpy(numbers["postnorm_in"]).double())
    np.testing.assert_allclose(double, numbers["postnorm_out"], rtol=0, atol=5e-7)


def test_post_norm_centres_and_scales_the_whole_batch() -> None:
    views = logmels(6, 64, 96) * 100
    result = post_norm(views)
    assert result.mean().item() == pytest.approx(0, abs=1e-5)
    assert result.std().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(result, (views - views.mean()) / views.std(), atol=1e-5, rtol=1e-5)


def test_post_norm_of_a_constant_batch_is_zero() -> None:
    assert torch.equal(post_norm(torch.full((2, 3, 4), 2.5)), torch.zeros(2, 3, 4))
    assert torch.equal(post_norm(torch.ones(1)), torch.zeros(1))
