"""Waves: decoded once where they fit, cut into units that miss nothing."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from byol_a.errors import AudioError, ByolaError
from downstream.protocols.finetuning.waves import ClipWaves, random_unit, units
from tests.downstream.protocols.finetuning.tones import RATE, waves_of


def test_clips_are_decoded_once_while_there_is_room_and_are_the_same_without() -> None:
    rng = np.random.default_rng(0)
    found = {index: rng.uniform(-1, 1, 100 + index).astype(np.float32) for index in range(6)}
    decoded: Counter[int] = Counter()

    def wave_of(index: int) -> np.ndarray:
        decoded[index] += 1
        return found[index]

    roomy, narrow = ClipWaves(wave_of, RATE, 1e6), ClipWaves(found.__getitem__, RATE, 450)
    for _ in range(3):
        pairs = zip(roomy.read([4, 0, 2]), narrow.read([4, 0, 2]), strict=True)
        for (index, wave), (same_index, same) in pairs:
            assert index == same_index and wave.dtype == np.int16
            np.testing.assert_array_equal(wave, same)
            np.testing.assert_allclose(wave / 32767, found[index], atol=0.51 / 32767)
    assert decoded == {4: 1, 0: 1, 2: 1}


def test_no_more_is_kept_than_there_is_room_for() -> None:
    decoded: Counter[int] = Counter()

    def wave_of(index: int) -> np.ndarray:
        decoded[index] += 1
        return np.zeros(100, np.float32)

    waves = ClipWaves(wave_of, RATE, 450)  # two clips of 200 bytes
    for _ in range(2):
        assert [index for index, _ in waves.read(range(4))] == [0, 1, 2, 3]
    assert sorted(decoded.values()) == [1, 1, 2, 2]


def test_unusable_clips_are_passed_over_and_reported_once() -> None:
    waves = waves_of({0: np.zeros(9, np.float32), 1: AudioError("one.wav", "empty"), 2: np.ones(9, np.float32)})
    for _ in range(2):
        assert [index for index, _ in waves.read([2, 1, 0])] == [2, 0]
    assert waves.usable([0, 1, 2]) == [0, 2]
    assert waves.problems.items() == [("one.wav", "empty")]


def test_the_typical_length_is_exceeded_by_one_clip_in_ten_and_bounded() -> None:
    waves = waves_of({index: np.zeros(100 * (index + 1), np.float32) for index in range(101)})
    assert waves.typical_samples(range(101)) == 9100
    assert waves_of({0: np.zeros(60 * RATE, np.float32)}).typical_samples([0]) == 10 * RATE
    with pytest.raises(ByolaError, match=r"only 0 of the 1 clips to train on can be used.*: bad\.wav: empty"):
        waves_of({0: AudioError("bad.wav", "empty")}).typical_samples([0])


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 5), st.integers(0, 5))
def test_a_random_unit_is_a_window_of_the_wave_and_zeros(length: int, samples: int, epoch: int, index: int) -> None:
    wave = np.arange(1, length + 1, dtype=np.int16)
    unit = random_unit(wave, samples, 3, epoch, index)
    assert len(unit) == samples and (unit == random_unit(wave, samples, 3, epoch, index)).all()
    inside = min(length, samples)
    assert unit[0] >= 1 and unit[inside - 1] <= length and (np.diff(unit[:inside]) == 1).all()
    assert not unit[inside:].any()


def test_random_units_come_from_everywhere_and_change_with_every_number() -> None:
    wave = np.arange(20, dtype=np.int16)
    starts = [[int(random_unit(wave, 11, seed, epoch, 7)[0]) for epoch in range(200)] for seed in range(2)]
    assert set(starts[0]) == set(range(10)) and starts[0] != starts[1]


@given(st.integers(1, 100), st.integers(1, 30))
def test_units_cover_a_whole_wave_and_end_with_it(length: int, samples: int) -> None:
    wave = np.arange(1, length + 1, dtype=np.int16)
    found = units(wave, samples, whole=True)
    assert {len(unit) for unit in found} == {samples}
    assert {int(value) for unit in found for value in unit if value} == set(wave.tolist())
    assert len(found) == max(1, -(-length // samples))
    (first,) = units(wave, samples, whole=False)
    np.testing.assert_array_equal(first, found[0])
