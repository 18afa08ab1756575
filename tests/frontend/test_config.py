"""A front-end's parameters: what is refused, and the road to JSON and back."""

from __future__ import annotations

import json

import pytest

from byol_a.errors import UsageError
from byol_a.frontend import FrontendConfig, LogMel


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"name": "essentia"}, "name"),
        ({"mel_scale": "bark"}, "mel_scale"),
        ({"mel_norm": "l2"}, "mel_norm"),
        ({"pad_mode": "wrap"}, "pad_mode"),
        ({"sample_rate": 0}, "sample_rate"),
        ({"sample_rate": 16000.0}, "sample_rate"),
        ({"hop_length": "160"}, "hop_length"),
        ({"hop_length": 0}, "hop_length"),
        ({"n_mels": True}, "n_mels"),
        ({"n_fft": 1023, "win_length": 1023}, "n_fft"),
        ({"win_length": 1025}, "win_length"),
        ({"f_min": -1.0}, "f_min"),
        ({"f_min": 7800.0}, "f_min"),
        ({"f_max": float("nan")}, "f_max"),
        ({"f_max": None}, "f_max"),
        ({"f_max": 8000.5}, "f_max"),
        ({"sample_rate": 8000}, "f_max"),
        ({"version": 2}, "newer"),
    ],
)
def test_what_cannot_be_used_is_named(wrong: dict, named: str) -> None:
    with pytest.raises(UsageError, match=named) as raised:
        FrontendConfig(**wrong)
    assert "\n" not in str(raised.value)


def test_whole_number_frequencies_are_the_same_configuration() -> None:
    assert FrontendConfig(f_min=60, f_max=7800) == FrontendConfig()
    assert isinstance(FrontendConfig(f_min=60).f_min, float)


def test_hop_in_seconds() -> None:
    assert FrontendConfig().hop_seconds == 0.01


@pytest.mark.parametrize(
    "config",
    [
        FrontendConfig(),
        FrontendConfig(name="nnaudio", n_fft=512, win_length=400, mel_scale="htk", mel_norm=None),
        FrontendConfig(name="librosa", sample_rate=44100, f_min=0.0, f_max=22050.0, pad_mode="constant"),
    ],
)
def test_identity_survives_json(config: FrontendConfig) -> None:
    identity = json.loads(json.dumps(LogMel(config).identity()))
    assert LogMel.from_identity(identity).config == config


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"window": "hamming"}, "unknown key 'window'"),
        ({"version": 9, "window": "hamming"}, "newer byol-a"),
        ({"n_mels": "64"}, "n_mels"),
        ({"name": "other"}, "name"),
    ],
)
def test_an_identity_that_is_not_ours_is_refused(change: dict, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        LogMel.from_identity({**LogMel().identity(), **change})


def test_nothing_missing_from_an_identity_is_guessed() -> None:
    identity = LogMel().identity()
    del identity["mel_norm"]
    with pytest.raises(UsageError, match="lacks 'mel_norm'"):
        LogMel.from_identity(identity)
