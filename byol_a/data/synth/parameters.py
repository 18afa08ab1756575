"""What a sound is made of: the ranges that parameters are drawn from, and the draw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from byol_a.data.synth.hashing import child_keys, stream, uniforms

NEVER = 1e4  # seconds; an event with this period does not come again


class Range(NamedTuple):
    """Where one parameter lies: with probability `chance` in [low, high], else exactly `otherwise`."""

    low: float
    high: float
    log: bool = False
    chance: float = 1.0
    otherwise: float = 0.0


def even(low: float, high: float, chance: float = 1.0, otherwise: float = 0.0) -> Range:
    """Uniform in [low, high]."""
    return Range(low, high, False, chance, otherwise)


def log(low: float, high: float, chance: float = 1.0, otherwise: float = 0.0) -> Range:
    """Uniform in the logarithm, for what is heard in ratios: pitch, duration, rate, bandwidth."""
    return Range(low, high, True, chance, otherwise)


def fixed(value: float) -> Range:
    """Always `value`."""
    return Range(value, value)


# One layer: an excitation, its pitch contour, its events and their envelope, its filter.
LAYER: dict[str, Range] = {
    "level_db": even(-24, 0),
    # pitch: the frequency it settles at, how far away it starts, how quickly it settles
    "frequency": log(45, 2500),  # Hz
    "glide": even(-12, 12, chance=0.35),  # semitones
    "glide_time": log(0.03, 1.0),  # seconds
    "vibrato_depth": log(0.05, 2.5, chance=0.4),  # semitones
    "vibrato_rate": log(2, 14),  # Hz
    # events: the layer starts at `onset` and may start again every `period`
    "onset": even(-0.15, 0.55, chance=0.75),  # fraction of the crop; below 0: already sounding
    "period": log(0.05, 0.7, chance=0.4, otherwise=NEVER),  # seconds
    "period_jitter": even(0, 0.35, chance=0.5),  # fraction of the period
    "event_drop": even(0, 0.5, chance=0.4),  # probability that an event is left out
    "event_spread_db": even(0, 18),
    "event_spread_semitones": log(0.1, 14, chance=0.5),
    # envelope of one event
    "attack": log(0.001, 0.3),  # seconds
    "decay": log(0.02, 2.0),  # seconds to fall by 1/e towards the sustained level
    "sustain": even(0.1, 1.0, chance=0.6),  # amplitude
    "gate": log(0.03, 3.0),  # seconds until release
    "release": log(0.005, 0.6),  # seconds
    "tremolo_depth": even(0.1, 1.0, chance=0.35),
    "tremolo_rate": log(1.5, 60),  # Hz
    # filter: a slope, up to three resonances over a floor, a comb; it may swing to other resonances
    "tilt_db": even(-12, 3),  # per octave
    "floor": log(0.003, 1.0, chance=0.6, otherwise=1.0),  # amplitude between the resonances
    "formant1": log(150, 1200),  # Hz
    "formant2": log(500, 3500),
    "formant3": log(1500, 7000),
    "bandwidth1": log(25, 900),  # Hz, half width
    "bandwidth2": log(40, 1200),
    "bandwidth3": log(60, 1500),
    "gain1": log(0.1, 4.0, chance=0.8),
    "gain2": log(0.1, 4.0, chance=0.7),
    "gain3": log(0.1, 4.0, chance=0.5),
    "comb_depth": even(0.3, 0.95, chance=0.2),
    "comb_delay": log(0.0003, 0.008),  # seconds
    "morph_octaves": even(-1.2, 1.2, chance=0.25),  # how far the resonances swing; 0: they stand
    "morph_rate": log(0.4, 8),  # Hz
    # timbre: each excitation reads its own
    "brightness": even(0.05, 0.97),  # ratio of one partial's amplitude to the one before
    "ratio": log(0.3, 6.0, chance=0.4, otherwise=1.0),  # frequency between partials, or of the modulator
    "index": log(0.3, 12),  # frequency modulation index, radians
    "index_decay": log(0.03, 2.0),  # seconds
    "sharpness": log(3, 20_000),  # of a pulse
    "pulse_width": even(0.05, 0.5),  # periods to the pulse of the other sign
    "pulse_pair": even(0.2, 1.0, chance=0.5),  # its amplitude
    "stretch": even(0.75, 1.9, chance=0.5, otherwise=1.0),  # partial k lies at k^stretch
    "inharmonicity": log(0.003, 0.35, chance=0.5),  # random detuning of partials
    "damping": even(0.0, 1.3),  # decay time falls with frequency to this power
    "slope": even(0.0, 1.8),  # partial k has amplitude k^-slope
    "sparsity": log(1.0, 1.6),  # exponent on the noise; large: crackling
}

# What each kind of layer draws differently; with the weight of the kind among random sounds.
KINDS: dict[str, tuple[float, dict[str, Range]]] = {
    "harmonic": (3.0, {}),
    "sweep": (
        2.0,
        {
            "frequency": log(200, 5000),
            "glide": even(-30, 30, chance=0.9),
            "glide_time": log(0.02, 0.5),
            "vibrato_depth": log(0.3, 7.0, chance=0.4),
            "brightness": even(0.0, 0.5),
            "attack": log(0.003, 0.06),
            "gate": log(0.03, 0.6),
            "period": log(0.06, 0.6, chance=0.7, otherwise=NEVER),
            "tilt_db": even(-4, 3),
            "floor": fixed(1.0),
        },
    ),
    "fm": (2.0, {"ratio": log(0.1, 8.0, chance=0.8, otherwise=1.0), "attack": log(0.001, 0.15)}),
    "modal": (
        3.0,
        {
            "frequency": log(60, 3000),
            "onset": even(0.0, 0.5),
            "attack": log(0.0005, 0.01),
            "decay": log(0.03, 2.0),
            "sustain": fixed(1.0),
            "gate": log(0.2, 4.0),
            "period": log(0.08, 0.7, chance=0.45, otherwise=NEVER),
            "tilt_db": even(-5, 4),
        },
    ),
    "pulse": (
        2.5,
        {
            "frequency": log(3, 600),
            "glide": even(-12, 12, chance=0.4),
            "tilt_db": even(-6, 3),
            "gain1": log(0.3, 4.0),
            "period": log(0.1, 0.8, chance=0.25, otherwise=NEVER),
        },
    ),
    "noise": (
        3.0,
        {
            "onset": even(-0.3, 0.5),
            "sustain": even(0.1, 1.0, chance=0.75),
            "gate": log(0.03, 5.0),
            "attack": log(0.001, 0.5),
            "tilt_db": even(-12, 4),
        },
    ),
    "crackle": (
        1.0,
        {"sparsity": log(6, 120), "tilt_db": even(-6, 3), "sustain": even(0.5, 1.0), "gate": log(0.2, 5)},
    ),
}
KIND_NAMES = tuple(KINDS)

# One clip: where it was heard and how it was recorded.
CLIP: dict[str, Range] = {
    "layers": Range(0, 1),
    "level_db": even(-40, -0.5),  # peak, relative to full scale
    "room_time": log(0.06, 1.5, chance=0.4),  # seconds to fall by 60 dB; 0: no room
    "room_db": even(-14, 6),  # tail's energy relative to the direct sound
    "room_delay": even(0.0, 0.03),  # seconds
    "room_cutoff": log(800, 12_000),  # Hz
    "room_sparsity": log(1.0, 20.0, chance=0.3, otherwise=1.0),
    "drive": log(1.5, 12, chance=0.12),  # soft clipping
    "silent_head": even(0.03, 0.3, chance=0.12),  # fraction of the crop
    "silent_tail": even(0.03, 0.4, chance=0.12),
}
LAYER_COUNT_ODDS = (0.4, 0.35, 0.25)  # one, two and three layers
MAX_LAYERS = len(LAYER_COUNT_ODDS)


class Table:
    """Ranges of one set of parameters for several kinds of things, drawn for any mixture of them at once."""

    def __init__(self, base: Mapping[str, Range], variants: Sequence[Mapping[str, Range]] = ({},)) -> None:
        self.names = tuple(base)
        rows = [[variant.get(name, base[name]) for name in self.names] for variant in variants]
        unknown = {name for variant in variants for name in variant} - set(base)
        if unknown:
            raise ValueError(f"no such parameter: {', '.join(sorted(unknown))}")

        def matrix(field: str) -> Tensor:
            return torch.tensor([[float(getattr(entry, field)) for entry in row] for row in rows], dtype=torch.float64)

        self._is_log = matrix("log") > 0
        low, high = matrix("low"), matrix("high")
        self._low = torch.where(self._is_log, low, 1.0).log() + torch.where(self._is_log, 0.0, low)
        self._high = torch.where(self._is_log, high, 1.0).log() + torch.where(self._is_log, 0.0, high)
        self._chance, self._otherwise = matrix("chance"), matrix("otherwise")
        self._value_streams = torch.tensor([stream(name) for name in self.names])
        self._chance_streams = torch.tensor([stream(f"{name}?") for name in self.names])

    def draw(self, keys: Tensor, variant: Tensor) -> dict[str, Tensor]:
        """Draw all parameters: keys (L,) int64, variant (L,) int64 -> name: (L,) float64, on the CPU."""
        low, high = self._low[variant], self._high[variant]
        value = low + (high - low) * uniforms(keys, self._value_streams)
        value = torch.where(self._is_log[variant], value.exp(), value)
        kept = uniforms(keys, self._chance_streams) < self._chance[variant]
        value = torch.where(kept, value, self._otherwise[variant])
        return dict(zip(self.names, value.unbind(1), strict=True))


class Columns:
    """Parameters of L layers on a device, read by name as (L, 1), to go with samples (L, S)."""

    def __init__(self, places: Mapping[str, int], matrix: Tensor) -> None:
        # (P, L): what is read is contiguous, so that it is computed with alike for every L.
        self._places, self._matrix = places, matrix

    @classmethod
    def of(cls, values: Mapping[str, Tensor], dtype: torch.dtype, device: torch.device | str = "cpu") -> Columns:
        """Gather name: (L,)."""
        places = {name: place for place, name in enumerate(values)}
        return cls(places, torch.stack(tuple(values.values())).to(device, dtype))

    def __getitem__(self, name: str) -> Tensor:
        return self._matrix[self._places[name]].unsqueeze(1)

    def rows(self, rows: Tensor) -> Columns:
        """Some of the layers."""
        return Columns(self._places, self._matrix.index_select(1, rows))


@dataclass(frozen=True)
class Layers:
    """L layers belonging to B clips.

    `clip` (L,) is the row of the clip, `slot` (L,) the place of the layer in its clip, `kind` (L,) the number
    of its entry in `KIND_NAMES`, `keys` (L,) its randomness, `values` name: (L,) its parameters.
    """

    clip: Tensor
    slot: Tensor
    kind: Tensor
    keys: Tensor
    values: dict[str, Tensor]


class Traits(NamedTuple):
    """Which costly ingredients some layers need; leaving an unneeded one out changes no bit of the result."""

    morph: bool
    repeat: bool
    bend: bool
    tremolo: bool
    comb: bool


def layer_traits(layers: Layers) -> Tensor:
    """The fields of `Traits` for every layer, (L, 5) bool."""
    v = layers.values
    bent = (v["glide"] != 0) | (v["vibrato_depth"] > 0)
    fields = (v["morph_octaves"] != 0, v["period"] < NEVER, bent, v["tremolo_depth"] > 0, v["comb_depth"] > 0)
    return torch.stack(fields, dim=1)


_LAYER_TABLE = Table(LAYER, [changes for _, changes in KINDS.values()])
_CLIP_TABLE = Table(CLIP)
_KIND_ODDS = torch.tensor([weight for weight, _ in KINDS.values()], dtype=torch.float64)


def draw_clips(keys: Tensor) -> dict[str, Tensor]:
    """Parameters of whole clips: keys (B,) -> name: (B,) float64."""
    return _CLIP_TABLE.draw(keys, torch.zeros_like(keys))


def draw_layers(keys: Tensor, clips: Mapping[str, Tensor]) -> Layers:
    """The one to three layers of every random sound: keys (B,)."""
    counts = 1 + torch.bucketize(clips["layers"].contiguous(), torch.tensor(LAYER_COUNT_ODDS).cumsum(0)[:-1].double())
    slots = torch.arange(MAX_LAYERS)
    clip, slot = torch.nonzero(slots < counts[:, None], as_tuple=True)
    layer_keys = child_keys(keys[clip], slot + stream("layer"))
    choice = uniforms(layer_keys, torch.tensor([stream("kind")]))
    kind = torch.bucketize(choice[:, 0].contiguous(), (_KIND_ODDS.cumsum(0) / _KIND_ODDS.sum())[:-1])
    return Layers(clip, slot, kind, layer_keys, settle(_LAYER_TABLE.draw(layer_keys, kind)))


def settle(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Make drawn layer parameters agree with each other: an event ends before the next one starts."""
    # Slow pulses get events that are long enough for at least one, whatever their attack does to the first.
    steady = 1 - values["period_jitter"]
    values["period"] = values["period"].maximum(2 / (values["frequency"] * steady))
    values["gate"] = values["gate"].maximum(1.5 / values["frequency"])
    free = values["period"] * steady
    values["gate"] = values["gate"].minimum(0.75 * free)
    values["release"] = values["release"].minimum(0.25 * free)
    values["attack"] = values["attack"].minimum(0.5 * values["gate"])
    # A sweep is heard over its event: what settles long after it would only be a tone.
    values["glide_time"] = values["glide_time"].minimum(values["gate"])
    return values


def octaves(count: Tensor) -> Tensor:
    """2^count. `torch.exp2` rounds the last few numbers of a tensor otherwise than the rest; `exp` does not."""
    return torch.exp(count * math.log(2))


def from_db(decibel: Tensor) -> Tensor:
    """Amplitude of a level in dB."""
    return torch.exp(decibel * (math.log(10) / 20))
