"""Excitations and filters against closed forms and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
import torch

from byol_a.data.synth.effects import Spectrum, fft_length, irfft, overload, rfft, silence_edges
from byol_a.data.synth.events import Clock, plan_events
from byol_a.data.synth.generators import GENERATORS
from byol_a.data.synth.hashing import root_keys
from byol_a.data.synth.parameters import (
    LAYER,
    NEVER,
    Columns,
    Table,
    Traits,
    draw_clips,
    draw_layers,
    fixed,
)

SAMPLE_RATE = 16000
ALL = Traits(morph=False, repeat=True, bend=True, tremolo=True, comb=True)
PLAIN = {
    "glide": 0.0,
    "vibrato_depth": 0.0,
    "tremolo_depth": 0.0,
    "onset": 0.0,
    "period": NEVER,
    "attack": 1e-4,
    "sustain": 1.0,
    "gate": 100.0,
    "ratio": 1.0,
    "comb_depth": 0.0,
    "event_drop": 0.0,
    "period_jitter": 0.0,
}


def make_clock(samples: int, **values: float) -> tuple[Clock, torch.Tensor, Columns]:
    table = Table(LAYER, [{name: fixed(value) for name, value in (PLAIN | values).items()}])
    keys = root_keys(0, torch.arange(1))
    drawn = table.draw(keys, torch.zeros(1, dtype=torch.int64))
    events = plan_events(Columns.of(drawn, torch.float64), keys, samples, SAMPLE_RATE)
    events = events.rows(torch.arange(1), torch.device("cpu"))
    columns = Columns.of(drawn, torch.float32)
    return Clock(columns, ALL, events, samples, SAMPLE_RATE), keys, columns


def test_harmonic_tone_is_the_geometric_sum_of_partials() -> None:
    clock, keys, _ = make_clock(16000, frequency=220.0, brightness=0.6)
    t = np.arange(16000) / SAMPLE_RATE
    expected = sum(0.6**k * np.sin(2 * np.pi * 220 * (k + 1) * t) for k in range(36)) * math.sqrt(2 * (1 - 0.36))
    np.testing.assert_allclose(GENERATORS["harmonic"](clock, keys, SAMPLE_RATE)[0].numpy(), expected, atol=2e-4)


def test_phase_does_not_drift_over_minutes() -> None:
    samples = 60 * SAMPLE_RATE
    clock, _, _ = make_clock(samples, frequency=1234.5)
    n = np.arange(samples)
    wrapped = (clock.cycles()[0].double().numpy() - n * (1234.5 / SAMPLE_RATE) + 0.5) % 1 - 0.5
    assert np.abs(wrapped).max() < 5e-4


def test_glide_and_vibrato_follow_their_frequency_contour() -> None:
    contour = {"glide": 7.0, "glide_time": 0.2, "vibrato_depth": 0.5, "vibrato_rate": 5.0}
    clock, _, _ = make_clock(16000, frequency=300.0, **contour)
    cycles = np.unwrap(clock.cycles()[0].double().numpy(), period=1.0)
    t = (np.arange(15999) + 0.5) / SAMPLE_RATE
    expected = 300 * (1 + (2 ** (7 / 12) - 1) * np.exp(-t / 0.2))
    expected += 300 * (2 ** (0.5 / 12) - 1) * np.sin(2 * np.pi * 5 * t)
    # A difference of rounded phases is rough; a running mean over 10 ms is not.
    smooth = np.ones(160) / 160
    measured = np.convolve(np.diff(cycles) * SAMPLE_RATE, smooth, "valid")
    np.testing.assert_allclose(measured, np.convolve(expected, smooth, "valid"), rtol=2e-3)


def test_modal_tone_equals_its_partials_in_float64() -> None:
    clock, keys, _ = make_clock(
        8000, frequency=500.0, decay=0.1, damping=0.0, stretch=1.0, inharmonicity=0.0, slope=1.0
    )
    tone = GENERATORS["modal"](clock, keys, SAMPLE_RATE)[0].double().numpy()
    # All partials are multiples of 500 Hz and decay alike: one period of 32 samples later, all is scaled.
    np.testing.assert_allclose(tone[32:], tone[:-32] * math.exp(-32 / SAMPLE_RATE / 0.1), atol=1e-4)


def test_events_repeat_and_restart_the_envelope() -> None:
    clock, _, _ = make_clock(
        8000, frequency=500.0, period=0.1, gate=0.05, release=0.01, attack=0.01, event_spread_db=0.0
    )
    envelope = clock.envelope[0]
    torch.testing.assert_close(envelope[:1600], envelope[1600:3200])
    assert envelope[0] == 0
    assert envelope[500] == pytest.approx(1.0)
    assert envelope[1000:1600].max() == 0


def test_noise_layer_before_its_onset_is_silent() -> None:
    clock, _, _ = make_clock(8000, onset=0.5)
    assert clock.envelope[0, :4000].abs().max() == 0
    assert clock.envelope[0, 4100] > 0.9


@pytest.mark.parametrize("samples", [1, 2, 3, 100, 8000, 15200, 15361, 48000])
def test_fft_length_is_fast_and_long_enough(samples: int) -> None:
    length = fft_length(samples)
    assert samples <= length <= max(samples + 1, 4 * samples // 3 + 1)
    for prime in (2, 3, 5):
        while length % prime == 0:
            length //= prime
    assert length == 1


def test_single_rows_are_transformed_like_many() -> None:
    x = torch.randn(4, 15200)
    many = rfft(x, 15360)
    torch.testing.assert_close(rfft(x[:1], 15360), many[:1], rtol=0, atol=0)
    torch.testing.assert_close(irfft(many[:1], 15360), irfft(many, 15360)[:1], rtol=0, atol=0)
    torch.testing.assert_close(irfft(many, 15360)[:, :15200], x, atol=1e-5, rtol=0)


def test_resonance_lets_its_band_through() -> None:
    _, _, values = make_clock(
        1, floor=0.01, tilt_db=0.0, formant1=1000.0, bandwidth1=50.0, gain1=2.0, gain2=0.0, gain3=0.0
    )
    spectrum = Spectrum(16000, SAMPLE_RATE, torch.device("cpu"))
    gain = spectrum.shape(values, ALL)[0].numpy()
    expected = 0.01 + 2.0 / (1 + ((spectrum.frequency.numpy() - 1000) / 50) ** 2)
    np.testing.assert_allclose(gain, expected, rtol=1e-4)


def test_room_tail_dies_at_its_rate() -> None:
    clips = {name: value[:1] for name, value in draw_clips(root_keys(0, torch.arange(1))).items()}
    settings = {"room_time": 0.3, "room_db": 6.0, "room_delay": 0.0, "room_sparsity": 1.0, "room_cutoff": 1e6}
    clips |= {name: torch.tensor([value], dtype=torch.float64) for name, value in settings.items()}
    spectrum = Spectrum(32000, SAMPLE_RATE, torch.device("cpu"))
    transfer = spectrum.room(Columns.of(clips, torch.float32), root_keys(0, torch.arange(1)))
    response = torch.fft.irfft(transfer, n=spectrum.length)[0].double().numpy()
    assert response[0] == pytest.approx(1, abs=0.2)
    energy = scipy.signal.decimate(response[160:].reshape(-1)[:4800] ** 2, 10, ftype="fir")
    slope = np.polyfit(np.arange(len(energy)) * 10 / SAMPLE_RATE, 10 * np.log10(np.abs(energy) + 1e-12), 1)[0]
    assert slope == pytest.approx(-60 / 0.3, rel=0.15)
    assert (response[1:16000] ** 2).sum() == pytest.approx(10**0.6, rel=0.02)


def test_overload_keeps_the_peak_and_edges_are_silent() -> None:
    wave = torch.linspace(-1, 1, 1000).repeat(2, 1)
    assert overload(wave, torch.tensor([[1.5], [10.0]])).abs().amax(1).tolist() == pytest.approx([1, 1])
    cut = silence_edges(torch.ones(2, 1000), torch.tensor([[0.2], [0.0]]), torch.tensor([[0.0], [0.3]]), 16000)
    assert cut[0, :200].abs().max() == 0
    assert cut[0, 300:].min() == 1
    assert cut[1, 700:].abs().max() == 0
    assert cut[1, :600].min() == 1


def test_layers_end_before_they_start_again() -> None:
    keys = root_keys(0, torch.arange(500))
    layers = draw_layers(keys, draw_clips(keys))
    v = layers.values
    free = v["period"] * (1 - v["period_jitter"])
    assert (v["gate"] + v["release"] <= free + 1e-9).all()
    counts = torch.bincount(layers.clip, minlength=500)
    assert set(counts.tolist()) == {1, 2, 3}
    assert set(layers.kind.tolist()) == set(range(len(GENERATORS)))
