"""When a layer sounds: its onsets, the time since the last one, and the envelope over it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from byol_a.data.synth.hashing import child_keys, stream, uniforms, wrap32
from byol_a.data.synth.parameters import Columns, Traits, from_db, octaves

_FIXED_POINT = 2.0**32
_DECAYS = 4.0  # time constants until nothing is heard any more
_LATEST_ONSET = 0.55  # fraction of the crop
FALLEN = -30.0  # exponent below which nothing is left; further down, denormal numbers would slow everything


@dataclass(frozen=True)
class EventTable:
    """All events of L layers, E at most; number 0 stands for the time before the first. Samples and gains float32.

    `onset`, `period` (L, 1) and `start` (L, E) in samples, `gain` (L, E), and `increment` (L, E) int32: the phase step
    per sample as a fraction of 2^32, so that phase accumulates exactly, for any length and on any device.
    `count` (L,) says how many of the E a layer needs.
    """

    onset: Tensor
    period: Tensor
    start: Tensor
    gain: Tensor
    increment: Tensor
    count: Tensor

    def last_heard(self, seconds: Tensor, end: Tensor, sample_rate: int) -> Tensor:
        """Middle, in samples, of the last event (L,) that begins before `end` (L,) and lasts `seconds` (L, 1)."""
        begins = torch.where((self.gain > 0) & (self.start < end[:, None]), self.start, -torch.inf)
        number = torch.arange(begins.shape[1])
        begins = torch.where(number < self.count[:, None], begins, -torch.inf)
        return begins.amax(1) + 0.5 * sample_rate * seconds[:, 0]

    def rows(self, rows: Tensor, device: torch.device) -> EventTable:
        """The events of some layers, on a device, without the columns that none of them needs."""
        count = self.count[rows]
        width = int(count.max())
        onset, period = self.onset[rows].to(device), self.period[rows].to(device)
        start, gain, increment = (t[rows, :width].to(device) for t in (self.start, self.gain, self.increment))
        return EventTable(onset, period, start, gain, increment, count)


def fixed_point(cycles_per_sample: Tensor) -> Tensor:
    """Fractions of a cycle (float64) as int32, which wraps as phase does."""
    return wrap32((cycles_per_sample * _FIXED_POINT).round().to(torch.int64))


def plan_events(values: Columns, keys: Tensor, samples: int, sample_rate: int) -> EventTable:
    """Lay out the events of L layers from their parameters (L,) float64, on the CPU."""
    period = values["period"].mul(sample_rate).round().clamp(min=1)
    length = event_seconds(values) * sample_rate
    onset = _first_heard(values["onset"] * samples, period, length, samples).round()
    count = ((samples - onset) / period).floor().clamp(min=0).long()[:, 0] + 2
    number = torch.arange(int(count.max())) - 1  # -1: before the first

    def draw(name: str) -> Tensor:
        return uniforms(child_keys(keys, stream(name)), number)

    shift = draw("event start") * values["period_jitter"] * period
    gain = from_db(-draw("event level") * values["event_spread_db"])
    gain *= draw("event drop") >= values["event_drop"]
    semitones = (draw("event pitch") - 0.5) * values["event_spread_semitones"]
    # The first event is never shifted, dropped nor transposed: a layer that does not repeat has only that one.
    shift[:, 1], gain[:, 0], gain[:, 1], semitones[:, 1] = 0.0, 0.0, 1.0, 0.0
    start = (onset + number * period + shift).round()
    increment = fixed_point(values["frequency"] * octaves(semitones / 12) / sample_rate)
    return EventTable(onset.float(), period.float(), start.float(), gain.float(), increment, count)


def event_seconds(values: Columns) -> Tensor:
    """How long an event is heard, (L, 1): to the end of its release, or until it has decayed where nothing sustains."""
    length = values["gate"] + values["release"]
    return torch.where(values["sustain"] > 0, length, length.minimum(_DECAYS * values["decay"]))


def _first_heard(onset: Tensor, period: Tensor, length: Tensor, samples: int) -> Tensor:
    """Onsets (L, 1) such that half of the first event, the only one that is sure to come, lies in the crop.

    A layer that was sounding before starts with its first event that reaches into the crop; where there is none,
    its only event begins later instead.
    """
    latest = -0.5 * length
    next_one = onset + ((latest - onset) / period).ceil().clamp(min=0) * period
    return torch.where(next_one <= _LATEST_ONSET * samples, next_one, onset.maximum(latest))


class Clock:
    """Time and envelope of L layers over S samples; tensors (L, S) on the device.

    `since` int32 samples since the last onset, `seconds` the same in seconds, `increment` the phase step,
    `envelope` amplitude in [0, 1].
    """

    def __init__(self, values: Columns, traits: Traits, events: EventTable, samples: int, sample_rate: int) -> None:
        self.values, self._traits = values, traits
        now = torch.arange(samples, dtype=torch.float32, device=events.start.device)
        if events.start.shape[1] == 2:  # nothing repeats: no table to look up
            since = now - events.start[:, 1:]
            gain = (since >= 0).float()
            self.increment = events.increment[:, 1:]
        else:
            # Half a sample keeps the quotient off the integers, where rounding would decide.
            number = (now - events.onset + 0.5).div_(events.period).floor_().clamp_(min=-1).add_(1).long()
            since = now - events.start.gather(1, number)
            gain = events.gain.gather(1, number)
            self.increment = events.increment.gather(1, number)
        self.since = since.to(torch.int32)
        self.seconds = since.mul_(1 / sample_rate)
        self.envelope = self._envelope(gain)

    def _envelope(self, gain: Tensor) -> Tensor:
        values, seconds = self.values, self.seconds
        attack, decay, sustain = (values[name] for name in ("attack", "decay", "sustain"))
        gate, release = values["gate"], values["release"]
        envelope = gain.mul_((seconds * (1 / attack)).clamp_(0, 1))
        envelope.mul_((seconds * (-1 / decay)).clamp_(FALLEN, 0).exp_().mul_(1 - sustain).add_(sustain))
        envelope.mul_(((gate - seconds) * (1 / release)).add_(1).clamp_(0, 1))
        if not self._traits.tremolo:
            return envelope
        tremolo = (seconds * (2 * math.pi * values["tremolo_rate"])).cos_()
        depth = 0.5 * values["tremolo_depth"]
        return envelope.mul_(tremolo.mul_(depth).add_(1 - depth))

    def cycles(self, ratio: Tensor | None = None) -> Tensor:
        """Phase in cycles, to within whole ones, at `ratio` (L, 1) times the layer's frequency: (L, S)."""
        increment = self.increment
        if ratio is not None:
            # Whole part exactly, the rest to ten binary places: so the product stays in wrapping integers.
            whole = ratio.floor()
            rest = ((ratio - whole) * 1024).round().to(torch.int32)
            increment = increment * whole.to(torch.int32) + (increment >> 10) * rest
        phase = (self.since * increment).float().mul_(1 / _FIXED_POINT)
        if self._traits.bend:
            phase.add_(self._bend if ratio is None else self._bend * ratio)
        return phase

    @cached_property
    def _bend(self) -> Tensor:
        """Cycles gained by glide and vibrato: the integral of the departure from the settled frequency."""
        values, seconds = self.values, self.seconds
        frequency, settle = values["frequency"], values["glide_time"]
        # f(t) = f + (f0 - f) exp(-t/T)  =>  T (f0 - f) (1 - exp(-t/T)) cycles
        departure = frequency * (octaves(values["glide"] / 12) - 1)
        bend = (seconds * (-1 / settle)).clamp_(FALLEN, 0).exp_().neg_().add_(1).mul_(settle * departure)
        rate = 2 * math.pi * values["vibrato_rate"]
        depth = (octaves(values["vibrato_depth"] / 12) - 1) * frequency
        return bend.sub_((seconds * rate).cos_().mul_(depth / rate))
