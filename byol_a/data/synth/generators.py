"""Excitations: what vibrates. Each turns a clock and parameters into (L, S) samples of about unit power."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from byol_a.data.synth.events import FALLEN, Clock, fixed_point
from byol_a.data.synth.hashing import child_keys, stream, uniforms, white_noise
from byol_a.data.synth.parameters import octaves

PARTIALS = 24
_BLOCK = 128
TWO_PI = 2 * math.pi


def _highest_frequency(clock: Clock) -> Tensor:
    """Largest frequency the contour reaches, (L, 1) Hz, leaving transpositions of single events aside."""
    values = clock.values
    rise = values["glide"].clamp(min=0) + values["vibrato_depth"]
    return values["frequency"] * octaves(rise / 12)


def harmonic(clock: Clock, keys: Tensor, sample_rate: int) -> Tensor:
    """Partials at f, f + rf, f + 2rf, … with amplitudes 1, a, a², …, in closed form (Moorer 1976).

    r = 1 is a harmonic tone, r = 2 one with odd harmonics only, other r inharmonic ones. High tones get a
    smaller a, so that little is left to fold at half the sample rate.
    """
    ratio = clock.values["ratio"]
    partials_below_nyquist = 0.5 * sample_rate / (_highest_frequency(clock) * ratio)
    ceiling = torch.exp(-3.5 / partials_below_nyquist)
    a = torch.minimum(clock.values["brightness"], ceiling)
    theta = clock.cycles().mul_(TWO_PI)
    beta = clock.cycles(ratio).mul_(TWO_PI)
    numerator = theta.sin() - (theta - beta).sin_().mul_(a)
    denominator = beta.cos_().mul_(-2 * a).add_(1 + a * a)
    return numerator.div_(denominator).mul_((2 * (1 - a * a)).sqrt())


def fm(clock: Clock, keys: Tensor, sample_rate: int) -> Tensor:
    """Frequency modulation with a decaying index (Chowning 1973), kept below half the sample rate."""
    values = clock.values
    ratio = values["ratio"]
    room = (0.45 * sample_rate / _highest_frequency(clock) - 1) / ratio
    index = torch.minimum(values["index"], room.clamp(min=0.1))
    fall = (clock.seconds * (-1 / values["index_decay"])).clamp_(FALLEN, 0).exp_().mul_(0.8).add_(0.2)
    modulator = clock.cycles(ratio).mul_(TWO_PI).sin_().mul_(fall.mul_(index))
    return clock.cycles().mul_(TWO_PI).add_(modulator).sin_().mul_(math.sqrt(2))


def pulse(clock: Clock, keys: Tensor, sample_rate: int) -> Tensor:
    """A train of smooth pulses exp(k (cos - 1)), alone (clicks, buzz) or with one of the other sign (rectangle).

    Its spectrum is close to a Gaussian of width sqrt(k) harmonics, so k is what bounds aliasing.
    """
    values = clock.values
    harmonics_below_nyquist = 0.5 * sample_rate / _highest_frequency(clock)
    k = torch.minimum(values["sharpness"], (harmonics_below_nyquist / 3).square()).clamp(min=0.5)
    theta = clock.cycles().mul_(TWO_PI)
    second = (theta + TWO_PI * values["pulse_width"]).cos_().sub_(1).mul_(k).clamp_(min=FALLEN).exp_()
    first = theta.cos_().sub_(1).mul_(k).clamp_(min=FALLEN).exp_()
    return first.sub_(second.mul_(values["pulse_pair"])).mul_((TWO_PI * k).sqrt().sqrt())


def noise(clock: Clock, keys: Tensor, sample_rate: int) -> Tensor:
    """White noise n |n|^(p-1): from steady hiss (p = 1) to sparse crackling (large p)."""
    p = clock.values["sparsity"]
    white = white_noise(keys, clock.seconds.shape[1])
    return (
        white.abs().clamp_(min=1e-9).log_().mul_(p - 1).clamp_(min=FALLEN).exp_().mul_(white).mul_((2 * p + 1).sqrt())
    )


def modal(clock: Clock, keys: Tensor, sample_rate: int) -> Tensor:
    """A struck body: partials that decay each at its own rate, struck again at every onset.

    Sample 128 i + j of one partial is Re(c z^(128 i) z^j), so all partials of a layer are one product of two
    small matrices. Partials k lie near f k^stretch; the place of the stroke silences some.
    """
    values, samples = clock.values, clock.seconds.shape[1]
    number = torch.arange(1, PARTIALS + 1, device=keys.device)
    # Random numbers come from the CPU's float64 path; (L, K) values are few.
    drawn = uniforms(child_keys(keys.cpu()[:, None], stream("partials")).flatten(), torch.arange(3 * PARTIALS))
    detune, phase, strength = drawn.float().to(keys.device).chunk(3, dim=1)
    multiple = torch.exp(number.float().log() * values["stretch"])
    multiple = multiple * octaves(values["inharmonicity"] * (2 * detune - 1))
    multiple = multiple / multiple[:, :1]
    frequency = values["frequency"] * multiple
    rate = torch.exp(multiple.log() * values["damping"]) / values["decay"]  # 1/s
    amplitude = torch.exp(multiple.log() * -values["slope"]) * (0.1 + strength)
    amplitude = amplitude * (frequency < 0.48 * sample_rate)
    amplitude = amplitude / amplitude.square().sum(1, keepdim=True).sqrt().clamp(min=1e-6)

    step = fixed_point((frequency / sample_rate).double().cpu()).to(keys.device)[:, :, None]

    def powers(counts: Tensor, offset: Tensor | float) -> tuple[Tensor, Tensor]:
        # Angles from wrapping integers, exact however many turns they have made.
        angle = (step * counts).float().mul_(TWO_PI * 2.0**-32).add_(offset)
        size = (counts * (-rate[:, :, None] / sample_rate)).clamp_(min=FALLEN).exp_()
        return angle.cos().mul_(size), angle.sin_().mul_(size)

    blocks = -(-samples // _BLOCK)
    index = torch.arange(max(blocks, _BLOCK), dtype=torch.int32, device=keys.device)
    coarse_real, coarse_imag = powers(index[:blocks] * _BLOCK, TWO_PI * phase[:, :, None])
    fine_real, fine_imag = powers(index[:_BLOCK], 0.0)
    strength_column = amplitude[:, :, None] * math.sqrt(2)
    coarse = torch.cat([coarse_real * strength_column, -coarse_imag * strength_column], dim=1)
    fine = torch.cat([fine_real, fine_imag], dim=1)
    response = torch.bmm(coarse.mT, fine).flatten(1)
    return response.gather(1, clock.since.clamp(0, samples - 1).long())


GENERATORS: dict[str, Callable[[Clock, Tensor, int], Tensor]] = {
    "harmonic": harmonic,
    "sweep": harmonic,
    "fm": fm,
    "modal": modal,
    "pulse": pulse,
    "noise": noise,
    "crackle": noise,
}
