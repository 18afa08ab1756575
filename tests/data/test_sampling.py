"""Orders of epochs: permutations, counts that follow the weights, and the same order wherever it is made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byol_a.data.sampling import EpochOrder, checked_weights, duration_weights, uniform_order, weighted_order
from byol_a.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
SEEDS = st.integers(0, 2**63 - 1)


@given(st.integers(1, 200), SEEDS, st.integers(0, 10**6))
def test_a_uniform_order_is_a_permutation(clips: int, seed: int, epoch: int) -> None:
    order = EpochOrder(clips, seed).epoch(epoch)
    assert order.indices.dtype == np.int64 and order.repeats.dtype == np.int32
    assert sorted(order.indices) == list(range(clips))
    assert not order.repeats.any()
    np.testing.assert_array_equal(order.indices, uniform_order(clips, seed, epoch))


def test_a_uniform_order_is_the_one_that_earlier_runs_had() -> None:
    expected = np.random.default_rng((42, 3)).permutation(1000)
    np.testing.assert_array_equal(uniform_order(1000, 42, 3), expected)


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    weights = np.arange(1, 101)
    names = [(seed, epoch) for seed in range(3) for epoch in range(3)]
    for given_weights in (None, weights):
        orders = {bytes(EpochOrder(100, seed, given_weights).epoch(epoch).indices) for seed, epoch in names}
        assert len(orders) == len(names)


@settings(max_examples=300)
@given(
    st.lists(st.one_of(st.just(0.0), st.just(1.0), st.floats(1e-9, 1e9)), min_size=1, max_size=60).filter(any),
    st.integers(1, 300),
    SEEDS,
    st.integers(0, 1000),
)
def test_counts_are_the_expected_ones_rounded(weights: list[float], size: int, seed: int, epoch: int) -> None:
    order = EpochOrder(len(weights), seed, np.array(weights), size).epoch(epoch)
    assert order.indices.shape == order.repeats.shape == (size,)
    assert order.indices.dtype == np.int64 and order.repeats.dtype == np.int32
    counts = np.bincount(order.indices, minlength=len(weights))
    expected = size * np.array(weights) / sum(weights)
    assert (counts >= np.floor(expected - 1e-6)).all() and (counts <= np.ceil(expected + 1e-6)).all()
    assert not counts[np.array(weights) == 0].any()
    for clip in np.flatnonzero(counts):
        assert sorted(order.repeats[order.indices == clip]) == list(range(counts[clip]))


@pytest.mark.parametrize("weight", [1.0, 0.1, 1 / 3, 1e-7, 7e8])
def test_equal_weights_take_every_clip_once(weight: float) -> None:
    for clips in (1, 2, 3, 49, 1000, 9973):
        order = EpochOrder(clips, 0, np.full(clips, weight)).epoch(0)
        np.testing.assert_array_equal(np.sort(order.indices), np.arange(clips))
        assert not order.repeats.any()


def test_counts_by_hand() -> None:
    weights = checked_weights(np.array([3, 0, 1, 4]))
    for epoch in range(20):
        order = weighted_order(weights, 0, epoch, 16)
        assert np.bincount(order.indices).tolist() == [6, 0, 2, 8]
        keys = set(zip(order.indices.tolist(), order.repeats.tolist(), strict=True))
        assert keys == {(clip, repeat) for clip, count in ((0, 6), (2, 2), (3, 8)) for repeat in range(count)}


def test_over_epochs_every_clip_comes_as_often_as_its_weight_says() -> None:
    rng = np.random.default_rng(0)
    weights = rng.uniform(0, 1, 50)
    order = EpochOrder(50, seed=1, weights=weights)
    epochs = 2000
    counts = sum(np.bincount(order.epoch(epoch).indices, minlength=50) for epoch in range(epochs))
    expected = 50 * weights / weights.sum()
    fraction = expected % 1
    deviation = (counts - epochs * expected) / np.sqrt(epochs * fraction * (1 - fraction) + 1e-9)
    # Each count is a whole number and a coin with the chance of the fraction: variance f (1 - f) an epoch.
    assert (deviation**2).sum() < 95  # chi-square, about 50 degrees of freedom, p < 1e-4


def test_any_two_clips_meet_in_an_epoch() -> None:
    """Systematic sampling in the order of the list would take either the even or the odd clips, and never both."""
    order = EpochOrder(20, seed=0, weights=np.ones(20), size=10)
    together = np.zeros((20, 20), int)
    for epoch in range(3000):
        taken = np.bincount(order.epoch(epoch).indices, minlength=20)
        together += np.outer(taken, taken)
    pairs = together[np.triu_indices(20, 1)] / 3000
    assert abs(pairs.mean() - 10 * 9 / (20 * 19)) < 1e-9
    assert pairs.std() < 0.02  # binomial: 0.0078


def test_places_in_the_epoch_are_uniform() -> None:
    order = EpochOrder(10, seed=3, weights=np.array([5.0] + [1.0] * 9), size=14)
    places = np.zeros((14, 10))
    epochs = 4000
    for epoch in range(epochs):
        places[np.arange(14), order.epoch(epoch).indices] += 1
    expected = epochs * np.array([5] + [1] * 9) / 14
    assert ((places - expected) ** 2 / expected).sum() < 200  # chi-square, about 117 degrees of freedom


def test_another_process_makes_the_same_order() -> None:
    program = (
        "import hashlib, numpy as np\n"
        "from byol_a.data.sampling import EpochOrder\n"
        "weights = 1000 / (np.arange(5000) % 97 + 0.01)\n"
        "for epoch in (5, 0):\n"
        "    order = EpochOrder(5000, 11, weights).epoch(epoch)\n"
        "    print(hashlib.sha256(bytes(order.indices) + bytes(order.repeats)).hexdigest())\n"
    )
    command = [sys.executable, "-c", program]
    runs = [
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert len(set(runs[0].split())) == 2


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [
        ([1, -0.5, -2], r"clip 1 has the weight -0\.5; .*\(2 of 3 are not\)"),
        ([1, float("nan")], "clip 1 has the weight nan"),
        ([float("inf"), 1], "clip 0 has the weight inf"),
        ([0, 0, 0], "all 3 clips have the weight 0"),
    ],
)
def test_weights_that_make_no_sense(weights: list[float], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        EpochOrder(len(weights), 0, np.array(weights))


def test_wrong_sizes() -> None:
    with pytest.raises(UsageError, match="at least one clip"):
        EpochOrder(0, 0)
    with pytest.raises(UsageError, match="3 clips need as many weights"):
        EpochOrder(3, 0, np.ones(4))


def test_by_duration_every_second_counts_alike() -> None:
    np.testing.assert_array_equal(duration_weights(np.array([10, 2.5])), [10, 2.5])
    order = EpochOrder(2, 0, duration_weights(np.array([10, 2.5])), size=100).epoch(0)
    assert np.bincount(order.indices).tolist() == [80, 20]
    with pytest.raises(UsageError, match=r"1 of 3 clips have no known duration.*byol-a scan"):
        duration_weights(np.array([1, np.nan, 2]))
