"""Labelled sounds: a dozen classes, each a distribution over the synthesiser's parameters, on random backgrounds."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch
from torch import Tensor

from byol_a.data.synth.hashing import child_keys, root_keys, stream, white_noise
from byol_a.data.synth.parameters import (
    CLIP,
    KIND_NAMES,
    LAYER,
    NEVER,
    Layers,
    Range,
    Table,
    draw_clips,
    draw_layers,
    even,
    fixed,
    from_db,
    log,
    settle,
)
from byol_a.data.synth.source import Renderer
from byol_a.errors import UsageError, require

_Layer = tuple[str, dict[str, Range]]

_STEADY = {
    "attack": log(0.01, 0.2),
    "decay": log(0.3, 3.0),
    "sustain": even(0.5, 1.0),
    "period": fixed(NEVER),
}
_STRUCK = {
    "onset": even(0.0, 0.5),
    "attack": log(0.0005, 0.006),
    "sustain": fixed(1.0),
    "glide": fixed(0.0),
    "vibrato_depth": fixed(0.0),
    "gate": log(0.3, 4.0),
    "floor": fixed(1.0),
    "morph_octaves": fixed(0.0),
}

# Bodies colour the sound less than among random sounds: what a thing is stays audible.
_BODY = {
    "tilt_db": even(-6, 0),
    "floor": log(0.15, 1.0, chance=0.6, otherwise=1.0),
    "comb_depth": fixed(0.0),
    "morph_octaves": fixed(0.0),
    "event_spread_semitones": log(0.1, 7, chance=0.4),
}

# What a class fixes or narrows; all it does not name varies as among random sounds.
_CLASSES: dict[str, list[_Layer]] = {
    "bowed": [
        (
            "harmonic",
            _STEADY
            | {
                "frequency": log(70, 1200),
                "glide": even(-1, 1, chance=0.3),
                "vibrato_depth": log(0.05, 0.7, chance=0.8),
                "vibrato_rate": log(4, 8),
                "attack": log(0.03, 0.4),
                "gate": log(0.4, 3.0),
                "brightness": even(0.6, 0.95),
                "ratio": fixed(1.0),
                "period": log(0.25, 0.8, chance=0.4, otherwise=NEVER),
                "morph_octaves": fixed(0.0),
            },
        )
    ],
    "plucked": [
        (
            "modal",
            _STRUCK
            | {
                "frequency": log(70, 1200),
                "stretch": even(1.0, 1.03),
                "inharmonicity": fixed(0.0),
                "decay": log(0.1, 1.2),
                "damping": even(0.3, 1.0),
                "slope": even(0.3, 1.5),
            },
        )
    ],
    "bell": [
        (
            "modal",
            _STRUCK
            | {
                "frequency": log(150, 2500),
                "stretch": even(0.8, 1.6),
                "inharmonicity": log(0.08, 0.6),
                "decay": log(0.2, 3.0),
                "damping": even(0.2, 0.9),
                "slope": even(0.2, 1.2),
            },
        )
    ],
    "drum": [
        (
            "modal",
            _STRUCK
            | {
                "frequency": log(50, 500),
                "stretch": even(0.7, 1.1),
                "inharmonicity": log(0.1, 0.5),
                "decay": log(0.02, 0.25),
                "damping": even(0.3, 1.0),
                "slope": even(0.6, 1.8),
                "period": log(0.1, 0.7, chance=0.6, otherwise=NEVER),
            },
        ),
        (
            "noise",
            {"onset": even(0.0, 0.4), "attack": log(0.0005, 0.004), "decay": log(0.01, 0.15)}
            | {"sustain": fixed(0.0), "level_db": even(-24, -3), "tilt_db": even(-9, 0)},
        ),
    ],
    "siren": [
        (
            "sweep",
            _STEADY
            | {
                "frequency": log(350, 1800),
                "glide": even(-6, 6, chance=0.3),
                "vibrato_depth": log(1.5, 7.0),
                "vibrato_rate": log(0.4, 6.0),
                "gate": log(0.8, 4.0),
                "brightness": even(0.2, 0.85),
                "ratio": fixed(1.0),
            },
        )
    ],
    "engine": [
        (
            "pulse",
            _STEADY
            | {
                "frequency": log(12, 110),
                "glide": even(-10, 10, chance=0.6),
                "glide_time": log(0.2, 2.0),
                "vibrato_depth": log(0.05, 0.6, chance=0.5),
                "gate": log(0.8, 4.0),
                "sharpness": log(5, 300),
                "tilt_db": even(-9, -1),
                "formant1": log(80, 600),
            },
        ),
        ("noise", _STEADY | {"gate": log(0.8, 4.0), "level_db": even(-24, -4), "tilt_db": even(-9, -2)}),
    ],
    "vowel": [
        (
            "pulse",
            {
                "frequency": log(75, 500),
                "glide": even(-5, 5, chance=0.7),
                "vibrato_depth": log(0.05, 0.8, chance=0.6),
                "vibrato_rate": log(4, 8),
                "attack": log(0.015, 0.15),
                "sustain": even(0.5, 1.0),
                "gate": log(0.12, 1.5),
                "sharpness": log(15, 400),
                "pulse_pair": fixed(0.0),
                "tilt_db": even(-5, -1),
                "formant1": log(250, 900),
                "formant2": log(700, 2500),
                "formant3": log(2200, 3800),
                "bandwidth1": log(40, 120),
                "bandwidth2": log(50, 160),
                "bandwidth3": log(80, 250),
                "gain1": log(0.7, 2.0),
                "gain2": log(0.4, 2.0),
                "gain3": log(0.2, 1.5),
                "floor": log(0.005, 0.05),
                "comb_depth": fixed(0.0),
                "morph_octaves": even(-0.7, 0.7, chance=0.5),
                "period": log(0.2, 0.8, chance=0.5, otherwise=NEVER),
            },
        )
    ],
    "insect": [
        (
            "sweep",
            {
                "frequency": log(1800, 6500),
                "glide": even(-3, 3, chance=0.4),
                "vibrato_depth": log(0.05, 1.0, chance=0.5),
                "brightness": even(0.0, 0.4),
                "gate": log(0.02, 0.6),
                "period": log(0.03, 0.5, chance=0.85, otherwise=NEVER),
                "event_spread_semitones": log(0.1, 1.0, chance=0.3),
                "tremolo_depth": even(0.5, 1.0, chance=0.8),
                "tremolo_rate": log(15, 120),
            },
        )
    ],
    "bird": [
        (
            "sweep",
            {
                "frequency": log(1200, 5500),
                "glide": even(-18, 18),
                "glide_time": log(0.015, 0.25),
                "vibrato_depth": log(0.2, 4.0, chance=0.4),
                "vibrato_rate": log(8, 40),
                "brightness": even(0.0, 0.35),
                "gate": log(0.04, 0.35),
                "period": log(0.08, 0.6, chance=0.85, otherwise=NEVER),
                "period_jitter": even(0.1, 0.4),
                "event_spread_semitones": log(0.5, 12),
                "event_drop": even(0, 0.5),
            },
        )
    ],
    "clicks": [
        (
            "pulse",
            {
                "frequency": log(2, 40),
                "glide": even(-18, 18, chance=0.5),
                "glide_time": log(0.2, 2.0),
                "vibrato_depth": log(0.2, 5.0, chance=0.6),
                "vibrato_rate": log(0.5, 6),
                "sharpness": log(3000, 1e6),
                "pulse_pair": fixed(0.0),
                "sustain": even(0.6, 1.0),
                "gate": log(0.3, 4.0),
                "tilt_db": even(-3, 4),
            },
        )
    ],
    "wind": [
        (
            "noise",
            {
                "onset": even(-0.3, 0.3),
                "attack": log(0.1, 0.8),
                "sustain": even(0.6, 1.0),
                "gate": log(0.8, 5.0),
                "release": log(0.1, 0.8),
                "period": fixed(NEVER),
                "tilt_db": even(-12, -2),
                "floor": log(0.003, 0.2),
                "morph_octaves": even(-1.2, 1.2, chance=0.9),
                "morph_rate": log(0.3, 3.0),
                "tremolo_depth": even(0.2, 0.9, chance=0.7),
                "tremolo_rate": log(0.4, 4.0),
            },
        )
    ],
    "fire": [
        ("crackle", {"sparsity": log(15, 150), "period": fixed(NEVER), "gate": log(0.8, 5.0)}),
        (
            "noise",
            _STEADY
            | {
                "gate": log(0.8, 5.0),
                "onset": even(-0.3, 0.1),
                "level_db": even(-20, -4),
                "tilt_db": even(-10, -2),
            },
        ),
    ],
}
CLASSES: tuple[str, ...] = tuple(_CLASSES)

_RECORDING = CLIP | {
    "level_db": fixed(0.0),
    "drive": fixed(0.0),
    "silent_head": fixed(0.0),
    "silent_tail": fixed(0.0),
}
_RECORDING_TABLE = Table(_RECORDING)
_SCENE: dict[str, Range] = {
    "level_db": even(-30, -1),  # peak of the mixture, relative to full scale
    "snr_db": even(10, 35),  # power of the class's sound over that of the background
    "hiss_db": even(-70, -35),  # recorder's noise, relative to the peak
}
_SCENE_TABLE = Table(_SCENE)


def _class_layers(name: str, keys: Tensor) -> Layers:
    """The layers of B sounds of a class, one row of `_CLASSES[name]` after the other."""
    parts = []
    for slot, (kind, changes) in enumerate(_CLASSES[name]):
        layer_keys = child_keys(keys, slot + stream(f"class {name}"))
        values = Table(LAYER | _BODY, [changes]).draw(layer_keys, torch.zeros_like(keys))
        if slot == 0:
            values["level_db"] = torch.zeros_like(values["level_db"])
        number = torch.full_like(keys, KIND_NAMES.index(kind))
        rows = torch.arange(len(keys))
        parts.append(Layers(rows, torch.full_like(rows, slot), number, layer_keys, settle(values)))
    return Layers(
        clip=torch.cat([part.clip for part in parts]),
        slot=torch.cat([part.slot for part in parts]),
        kind=torch.cat([part.kind for part in parts]),
        keys=torch.cat([part.keys for part in parts]),
        values={name: torch.cat([part.values[name] for part in parts]) for name in LAYER},
    )


@torch.no_grad()
def render_class(name: str, seed: int, indices: Tensor, sample_rate: int = 16000, seconds: float = 1.5) -> Tensor:
    """Sounds of one class, each in its own room, over a random background at a random level.

    Sound `i` of a class is a function of (name, seed, i).

    Args:
        name: one of `CLASSES`.
        seed: any integer.
        indices: (B,) int64.
        sample_rate: Hz.
        seconds: length of a sound.

    Returns:
        (B, S) float32 in [-1, 1] on the CPU, S = round(seconds * sample_rate).

    Raises:
        UsageError: if there is no such class, or a sound would have no sample.
    """
    if name not in _CLASSES:
        raise UsageError(f"no sound class is called {name!r}; choose one of {', '.join(CLASSES)}")
    samples = round(seconds * sample_rate)
    if samples < 1:
        raise UsageError(f"{seconds} seconds at {sample_rate} Hz are not one sample; ask for longer sounds")
    renderer = Renderer(samples, sample_rate)
    keys = child_keys(root_keys(seed, indices), stream(f"sound of {name}"))
    scene = _SCENE_TABLE.draw(keys, torch.zeros_like(keys))
    sound = renderer.render(_RECORDING_TABLE.draw(keys, torch.zeros_like(keys)), _class_layers(name, keys), keys)
    behind = child_keys(keys, stream("background"))
    clips = draw_clips(behind)
    background = renderer.render(clips, draw_layers(behind, clips), behind)
    # Powers are taken in float64: their rounding then never shows in a sample.
    ratio = (_power(sound) / _power(background)).sqrt() * from_db(-scene["snr_db"])
    wave = sound + background * ratio.float()[:, None]
    peak = wave.abs().amax(1, keepdim=True).clamp(min=1e-9)
    hiss = white_noise(child_keys(keys, stream("hiss")), samples) * from_db(scene["hiss_db"]).float()[:, None]
    wave = (wave / peak + hiss) / (1 + from_db(scene["hiss_db"]).float()[:, None])
    return (wave * from_db(scene["level_db"]).float()[:, None]).clamp_(-1, 1)


def _power(wave: Tensor) -> Tensor:
    return wave.double().square().sum(1).clamp(min=1e-12)


def write_labelled_set(
    folder: str | os.PathLike[str],
    per_class: int,
    seed: int,
    seconds: float = 1.5,
    sample_rate: int = 16000,
) -> list[Path]:
    """Write `per_class` sounds of every class as 16-bit `folder/<class>/<number>.wav`; return the paths.

    Raises:
        UsageError: if `per_class` or `seconds` is not positive.
        MissingPackageError: if soundfile is not installed.
    """
    if per_class < 1:
        raise UsageError(f"a labelled set needs at least one sound per class, not {per_class}")
    soundfile = require("soundfile", "writing audio files")
    digits = max(3, math.ceil(math.log10(per_class)))
    paths = []
    for name in CLASSES:
        place = Path(folder) / name
        place.mkdir(parents=True, exist_ok=True)
        for numbers in torch.arange(per_class).split(64):
            waves = render_class(name, seed, numbers, sample_rate, seconds).numpy()
            for number, wave in zip(numbers.tolist(), waves, strict=True):
                paths.append(place / f"{number:0{digits}d}.wav")
                soundfile.write(paths[-1], wave, sample_rate, subtype="PCM_16")
    return paths
