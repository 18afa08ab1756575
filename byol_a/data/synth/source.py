"""Rendering: layers are grouped by what excites them, filtered, mixed, put into a room, and set to a level."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from byol_a.data.synth.effects import Spectrum, irfft, overload, row_power, silence_edges
from byol_a.data.synth.events import Clock, EventTable, event_seconds, plan_events
from byol_a.data.synth.generators import GENERATORS
from byol_a.data.synth.hashing import child_keys, root_keys, stream
from byol_a.data.synth.parameters import (
    KIND_NAMES,
    Columns,
    Layers,
    Traits,
    draw_clips,
    draw_layers,
    from_db,
    layer_traits,
)
from byol_a.errors import UsageError

# On a CPU, this many clips are rendered at a time: what one operation writes is still in cache for the next.
_CPU_CLIPS = 128
_CPU_LAYERS = 12


class Renderer:
    """Turns parameters into waves of one length and sample rate, on one device."""

    def __init__(self, samples: int, sample_rate: int, device: str | torch.device = "cpu") -> None:
        self.samples, self.sample_rate, self.device = samples, sample_rate, torch.device(device)
        self.spectrum = Spectrum(samples, sample_rate, self.device)

    def render(self, clips: dict[str, Tensor], layers: Layers, keys: Tensor) -> Tensor:
        """Waves (B, S) in [-1, 1] of B clips, each with its own layers.

        Args:
            clips: name: (B,) parameters of whole clips, on the CPU.
            layers: the layers of all clips, on the CPU.
            keys: (B,) randomness of the clips, on the CPU.
        """
        planned = Columns.of(layers.values, torch.float64)
        events = plan_events(planned, layers.keys, self.samples, self.sample_rate)
        mixed = self._mix(layers, events, len(keys))
        # A silent head ends before the last event does: something is always heard.
        end = (1 - clips["silent_tail"][layers.clip]) * self.samples
        heard = events.last_heard(event_seconds(planned), end, self.sample_rate) / self.samples
        latest = torch.zeros(len(keys), dtype=torch.float64).scatter_reduce_(0, layers.clip, heard, "amax")
        clips = clips | {"silent_head": clips["silent_head"].minimum(latest)}
        columns = Columns.of(clips, torch.float32, self.device)

        def where(name: str) -> Tensor:
            return torch.nonzero(clips[name] > 0)[:, 0]

        if len(rooms := where("room_time")):
            room_keys = child_keys(keys[rooms], stream("room")).to(self.device)
            rooms = rooms.to(self.device)
            mixed[rooms] = mixed[rooms] * self.spectrum.room(columns.rows(rooms), room_keys)
        mixed.mul_(self.spectrum.pass_rumble)
        wave = irfft(mixed, self.spectrum.length)[:, : self.samples].contiguous()
        wave = _to_peak(wave)
        if len(driven := where("drive").to(self.device)):
            wave[driven] = overload(wave[driven], columns.rows(driven)["drive"])
        edges = torch.cat([where("silent_head"), where("silent_tail")]).unique().to(self.device)
        if len(edges):
            some = columns.rows(edges)
            edged = silence_edges(wave[edges], some["silent_head"], some["silent_tail"], self.sample_rate)
            wave[edges] = _to_peak(edged)
        return wave.mul_(from_db(columns["level_db"])).clamp_(-1, 1)

    def _mix(self, layers: Layers, events: EventTable, clips: int) -> Tensor:
        """Spectra (B, F) of clips: the sum of their layers, each at its level whatever its filter took away."""
        mixed = torch.zeros(clips, len(self.spectrum.frequency), dtype=torch.complex64, device=self.device)
        parts = torch.view_as_real(mixed).flatten(1)  # adding rows of complex numbers is much slower
        values = Columns.of(layers.values, torch.float32, self.device)
        keys, owner = layers.keys.to(self.device), layers.clip.to(self.device)
        for rows, kind, traits in self._groups(layers):
            place = rows.to(self.device)
            some = values.rows(place)
            clock = Clock(some, traits, events.rows(rows, self.device), self.samples, self.sample_rate)
            wave = GENERATORS[kind](clock, keys[place], self.sample_rate).mul_(clock.envelope)
            spectrum = self.spectrum.filtered(wave, some, traits, clock.seconds)
            layer = torch.view_as_real(spectrum).flatten(1)
            layer.mul_(from_db(some["level_db"]) / row_power(layer).sqrt().clamp(min=1e-6))
            # The layers of one clip are added in the order of their groups, however those are split: a sum
            # of floats depends on its order, and a GPU's on chance unless every place is met once.
            clip = layers.clip[rows]
            earlier = (clip[:, None] == clip).tril(-1).sum(1)
            for turn in range(int(earlier.max()) + 1):
                which = torch.nonzero(earlier == turn)[:, 0].to(self.device)
                parts.index_add_(0, owner[place[which]], layer[which])
        return mixed

    def _groups(self, layers: Layers) -> Iterator[tuple[Tensor, str, Traits]]:
        """Rows of layers of one kind and of like traits, with what at least one of them needs."""
        traits = layer_traits(layers)
        code = (traits.long() * torch.tensor([16, 8, 4, 2, 1])).sum(1)
        order = torch.argsort(layers.kind * 32 + code, stable=True)
        for kind, name in enumerate(KIND_NAMES):
            for morph in (False, True):
                members = order[(layers.kind[order] == kind) & (traits[order, 0] == morph)]
                size = _CPU_LAYERS if self.device.type == "cpu" else max(1, len(members))
                for rows in members.split(size):
                    if len(rows):
                        yield rows, name, Traits(*traits[rows].any(0).tolist())


def _to_peak(wave: Tensor) -> Tensor:
    """Waves (B, S), which are overwritten, brought to a peak of 1."""
    return wave.mul_(1 / wave.abs().amax(1, keepdim=True).clamp(min=1e-9))


class SynthSource:
    """Endless sounds without recordings: sound `i` is a function of (seed, i), whatever else is in its batch.

    A sound is one to three layers (tones, sweeps, frequency modulation, struck bodies, pulses, noise, crackling)
    with widely random parameters; pre-training on such sounds rivals recordings (Cherep and Singh, ICLR 2025,
    arXiv 2406.05923). Two devices agree to rounding, two batch sizes on one CPU to the bit.

    Args:
        seed: any integer; another seed gives other sounds.
        crop_samples: S, length of a sound in samples.
        sample_rate: Hz; durations and pitches do not depend on it.
        device: where sounds are rendered.

    Raises:
        UsageError: if `crop_samples` or `sample_rate` is not positive.
    """

    def __init__(self, seed: int, crop_samples: int, sample_rate: int, device: str | torch.device = "cpu") -> None:
        if crop_samples < 1 or sample_rate < 1:
            raise UsageError(f"crop_samples and sample_rate must be positive, not {crop_samples} and {sample_rate}")
        self.seed, self.crop_samples, self.sample_rate = seed, crop_samples, sample_rate
        self.device = torch.device(device)
        self._renderer = Renderer(crop_samples, sample_rate, self.device)

    @torch.no_grad()
    def batch(self, indices: Tensor) -> Tensor:
        """Sounds number `indices` (B,) int64: (B, S) float32 in [-1, 1] on the device."""
        with torch.autocast(self.device.type, enabled=False):
            if not len(indices):
                return torch.zeros(0, self.crop_samples, device=self.device)
            keys = root_keys(self.seed, indices)
            parts = keys.split(_CPU_CLIPS) if self.device.type == "cpu" else (keys,)
            waves = [self._render(part) for part in parts]
            return torch.cat(waves) if len(waves) != 1 else waves[0]

    def _render(self, keys: Tensor) -> Tensor:
        clips = draw_clips(keys)
        return self._renderer.render(clips, draw_layers(keys, clips), keys)
