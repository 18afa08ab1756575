"""Random sounds: a function of seed and index, in range, and of every sort."""

from __future__ import annotations

import pytest
import torch

from byol_a.data.synth import SynthSource
from byol_a.data.synth.hashing import root_keys
from byol_a.data.synth.parameters import draw_clips
from byol_a.errors import UsageError

CROP, SAMPLE_RATE = 15200, 16000


@pytest.fixture(scope="module")
def source() -> SynthSource:
    return SynthSource(seed=3, crop_samples=CROP, sample_rate=SAMPLE_RATE)


@pytest.fixture(scope="module")
def sounds(source: SynthSource) -> torch.Tensor:
    return source.batch(torch.arange(96))


def assert_same(actual: torch.Tensor, expected: torch.Tensor) -> None:
    # Bit for bit where PyTorch transforms with MKL; other FFTs may round a row by its neighbours.
    tolerance = 0.0 if torch.backends.mkl.is_available() else 1e-6
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def test_a_sound_alone_is_the_sound_in_a_batch(source: SynthSource, sounds: torch.Tensor) -> None:
    alone = torch.cat([source.batch(torch.tensor([i])) for i in range(48)])
    assert_same(alone, sounds[:48])


@pytest.mark.parametrize("size", [5, 13, 31])
def test_a_sound_does_not_depend_on_its_batch(source: SynthSource, sounds: torch.Tensor, size: int) -> None:
    order = torch.randperm(96, generator=torch.Generator().manual_seed(size))
    mixed = torch.cat([source.batch(part) for part in order.split(size)])
    assert_same(mixed, sounds[order])


def test_a_batch_larger_than_one_round_is_rendered_alike(source: SynthSource, sounds: torch.Tensor) -> None:
    assert_same(source.batch(torch.arange(200).roll(50))[50:146], sounds)


def test_an_index_may_come_twice_and_be_huge(source: SynthSource) -> None:
    wave = source.batch(torch.tensor([7, 2**62, 7]))
    assert_same(wave[0], wave[2])
    assert not torch.equal(wave[0], wave[1])


def test_another_seed_gives_other_sounds(sounds: torch.Tensor) -> None:
    other = SynthSource(4, CROP, SAMPLE_RATE).batch(torch.arange(96))
    assert ((other - sounds).abs().amax(1) > 1e-3).all()


def test_sounds_are_finite_in_range_and_centred(sounds: torch.Tensor) -> None:
    assert sounds.shape == (96, CROP)
    assert sounds.dtype == torch.float32
    assert sounds.isfinite().all()
    peak = sounds.abs().amax(1)
    assert peak.max() <= 1
    assert peak.min() > 0.009
    assert (sounds.mean(1).abs() <= 0.02 * peak).all()


@pytest.mark.parametrize("crop", [CROP, 4000])
def test_no_sound_is_silent(crop: int) -> None:
    """Neither an early onset nor a silent head takes the only event away: peaks are those that are drawn."""
    indices = torch.arange(1500)
    peak = SynthSource(0, crop, SAMPLE_RATE).batch(indices).abs().amax(1)
    drawn = 10 ** (draw_clips(root_keys(0, indices))["level_db"] / 20)
    torch.testing.assert_close(peak.double(), drawn, rtol=1e-3, atol=0)
    assert peak.min() > 0.009  # -40 dB


def test_sounds_are_of_every_sort(sounds: torch.Tensor) -> None:
    power = torch.fft.rfft(sounds).abs().square()
    frequency = torch.fft.rfftfreq(CROP, 1 / SAMPLE_RATE)
    centroid = (power * frequency).sum(1) / power.sum(1)
    low, high = centroid.quantile(torch.tensor([0.1, 0.9]))
    assert high > 5 * low
    flatness = (power + 1e-12).log().mean(1).exp() / power.mean(1)
    assert flatness.max() > 100 * flatness.min()
    level = 20 * sounds.abs().amax(1).log10()
    assert level.max() - level.min() > 25
    onset = (sounds.abs() > 0.1 * sounds.abs().amax(1, keepdim=True)).float().argmax(1)
    assert (onset < 200).sum() > 10
    assert (onset > 3000).sum() > 10


@pytest.mark.parametrize(("samples", "rate"), [(1, 16000), (100, 8000), (4000, 8000), (44100, 44100), (50_000, 16000)])
def test_other_lengths_and_rates(samples: int, rate: int) -> None:
    wave = SynthSource(0, samples, rate).batch(torch.arange(6))
    assert wave.shape == (6, samples)
    assert wave.isfinite().all()
    assert wave.abs().max() <= 1


def test_an_empty_batch_is_empty(source: SynthSource) -> None:
    assert source.batch(torch.arange(0)).shape == (0, CROP)


@pytest.mark.parametrize(("samples", "rate"), [(0, 16000), (100, 0), (-5, 16000)])
def test_nonsense_sizes_are_refused(samples: int, rate: int) -> None:
    with pytest.raises(UsageError, match="positive"):
        SynthSource(0, samples, rate)


def test_autocast_outside_changes_nothing(source: SynthSource, sounds: torch.Tensor) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_same(source.batch(torch.arange(96)), sounds)


@pytest.mark.gpu
def test_gpu_renders_the_same_sounds(sounds: torch.Tensor) -> None:
    source = SynthSource(3, CROP, SAMPLE_RATE, device="cuda")
    wave = source.batch(torch.arange(96))
    assert wave.is_cuda
    torch.testing.assert_close(wave.cpu(), sounds, rtol=0, atol=1e-3)
    alone = torch.cat([source.batch(torch.tensor([i])) for i in range(8)])
    torch.testing.assert_close(alone, wave[:8], rtol=0, atol=1e-5)
