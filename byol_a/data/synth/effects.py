"""What happens to an excitation: resonances, a room, overload, edges. Filters are one product in frequency."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from byol_a.data.synth.events import FALLEN
from byol_a.data.synth.hashing import white_noise
from byol_a.data.synth.parameters import Columns, Traits, from_db, octaves

_TILT_PIVOT = 500.0  # Hz, where a sloping spectrum has gain 1
_RUMBLE = 25.0  # Hz, below which nothing passes
_EDGE = 0.004  # seconds a silent head or tail takes to begin or end


def fft_length(samples: int) -> int:
    """The smallest 2^a, 3·2^a, 5·2^a or 15·2^a that is not below `samples`.

    Tails that ring past the end come round to the beginning, as if the sound had been going on before.
    """
    return min(odd << max(0, (-(-samples // odd) - 1).bit_length()) for odd in (1, 3, 5, 15))


def rfft(x: Tensor, length: int) -> Tensor:
    """Real FFT of rows (L, S), zero-padded to `length`: (L, F) complex.

    A single row is transformed twice over: MKL takes another path for one row than for several, with another
    rounding, and a sound must not depend on how many others are rendered beside it.
    """
    return torch.fft.rfft(x, n=length) if len(x) != 1 else torch.fft.rfft(x.repeat(2, 1), n=length)[:1]


def irfft(x: Tensor, length: int) -> Tensor:
    """Inverse of `rfft`: (L, F) complex -> (L, length)."""
    return torch.fft.irfft(x, n=length) if len(x) != 1 else torch.fft.irfft(x.repeat(2, 1), n=length)[:1]


def row_power(x: Tensor) -> Tensor:
    """Sum of squares of every row: (L, N) -> (L, 1).

    In two steps, because PyTorch adds up one long row in another order than several: a sound must not
    depend on how many others are rendered beside it.
    """
    rows, length = x.shape
    block = 64
    squares = torch.nn.functional.pad(x.square(), (0, -length % block))
    return squares.view(rows, -1, block).sum(2).sum(1, keepdim=True)


class Spectrum:
    """The frequencies (F,) of one FFT length, with what filters need of them."""

    def __init__(self, samples: int, sample_rate: int, device: torch.device) -> None:
        self.samples, self.sample_rate, self.length = samples, sample_rate, fft_length(samples)
        self.frequency = torch.fft.rfftfreq(self.length, 1 / sample_rate, device=device)
        self._octave = (self.frequency.clamp(min=_RUMBLE) / _TILT_PIVOT).log2()
        self.pass_rumble = self.frequency.square() / (self.frequency.square() + _RUMBLE**2)

    def shape(self, values: Columns, traits: Traits, swing: float = 0.0) -> Tensor:
        """Gains (L, F): a slope, resonances over a floor, a comb; `swing` 0 to 1 moves the resonances."""
        gain = torch.zeros(1, device=self.frequency.device)
        moved = octaves(swing * values["morph_octaves"]) if swing else 1.0
        for number in "123":
            centre = values[f"formant{number}"] * moved
            half_width = values[f"bandwidth{number}"]
            # A resonance's Lorentzian, without phase: 1 / (1 + ((f - fc) / b)^2)
            peak = (self.frequency * (1 / half_width)).sub_(centre / half_width).square_().add_(1).reciprocal_()
            gain = peak.mul_(values[f"gain{number}"]).add_(gain)
        gain.add_(values["floor"])
        gain.mul_((self._octave * (values["tilt_db"] * (math.log(2) / 6.02))).exp_())
        if not traits.comb:
            return gain
        comb = (self.frequency * (2 * math.pi * values["comb_delay"])).cos_()
        return gain.mul_(comb.mul_(values["comb_depth"]).add_(1))

    def filtered(self, x: Tensor, values: Columns, traits: Traits, seconds: Tensor) -> Tensor:
        """Excitations (L, S) through their filters: (L, F) complex. `seconds` (L, S) drives a swinging filter."""
        if not traits.morph:
            return rfft(x, self.length) * self.shape(values, traits)
        # Two filters, crossfaded in time: the excitation is split between them before the transform.
        there = (seconds * (2 * math.pi * values["morph_rate"])).cos_().mul_(-0.5).add_(0.5)
        there = there.mul_(x)
        spectrum = rfft(x - there, self.length) * self.shape(values, traits)
        return spectrum.add_(rfft(there, self.length) * self.shape(values, traits, swing=1.0))

    def room(self, clips: Columns, keys: Tensor) -> Tensor:
        """Transfer functions (B, F) complex of rooms: the direct sound plus an exponentially dying noise tail."""
        tail = max(1, self.length // 2)
        seconds = torch.arange(tail, device=keys.device) * (1 / self.sample_rate)
        late = seconds - clips["room_delay"]
        noise = white_noise(keys, tail)
        noise = (
            noise.abs().clamp_(min=1e-9).log_().mul_(clips["room_sparsity"] - 1).clamp_(min=FALLEN).exp_().mul_(noise)
        )
        noise.mul_((late * (-3 * math.log(10) / clips["room_time"])).clamp_(min=FALLEN).exp_()).mul_(late >= 0)
        # It is faded rather than cut where a room rings longer.
        noise.mul_((seconds * (math.pi / 2 * self.sample_rate / tail)).cos_())
        noise.mul_(from_db(clips["room_db"]) / row_power(noise).sqrt().clamp(min=1e-6))
        damped = 1 / (1 + (self.frequency / clips["room_cutoff"]).square())
        return rfft(noise, self.length).mul_(damped).add_(1)


def overload(wave: Tensor, drive: Tensor) -> Tensor:
    """Soft clipping of waves (B, S) with peak 1 by a factor (B, 1)."""
    return (wave * drive).tanh_().mul_(1 / drive.tanh())


def silence_edges(wave: Tensor, head: Tensor, tail: Tensor, sample_rate: int) -> Tensor:
    """Waves (B, S) without their first and last fractions (B, 1), which become silence, with short fades."""
    samples = wave.shape[1]
    now = torch.arange(samples, dtype=torch.float32, device=wave.device)
    fade = 1 / (_EDGE * sample_rate)
    rise = (now - head * samples).mul_(fade).clamp_(0, 1).maximum(head <= 0)
    fall = ((1 - tail) * samples - now).mul_(fade).clamp_(0, 1).maximum(tail <= 0)
    return rise.mul_(fall).mul_(wave)
