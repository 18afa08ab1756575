"""The mel scales and the filterbank, against librosa and torchaudio."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from byol_a.frontend import FrontendConfig, mel_filterbank
from byol_a.frontend.mel import hz_to_mel, mel_to_hz


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_scales_equal_librosa_and_invert_each_other(scale: str) -> None:
    librosa = pytest.importorskip("librosa")
    hz = np.linspace(0, 22050, 4001)
    mel = hz_to_mel(hz, scale)
    np.testing.assert_allclose(mel, librosa.hz_to_mel(hz, htk=scale == "htk"), rtol=1e-12)
    np.testing.assert_allclose(mel_to_hz(mel, scale), hz, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("mel_norm", ["slaney", None])
@pytest.mark.parametrize("mel_scale", ["slaney", "htk"])
@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"n_fft": 512, "win_length": 400, "n_mels": 40, "f_min": 0.0, "f_max": 8000.0},
        {"sample_rate": 44100, "n_fft": 2048, "n_mels": 128, "f_max": 20000.0},
        {"sample_rate": 22050, "n_fft": 1022, "win_length": 1000, "n_mels": 1},
    ],
)
def test_filterbank_equals_librosa_in_float64(mel_scale: str, mel_norm: str | None, sizes: dict) -> None:
    librosa = pytest.importorskip("librosa")
    config = FrontendConfig(mel_scale=mel_scale, mel_norm=mel_norm, **sizes)
    reference = librosa.filters.mel(
        sr=config.sample_rate,
        n_fft=config.n_fft,
        n_mels=config.n_mels,
        fmin=config.f_min,
        fmax=config.f_max,
        htk=mel_scale == "htk",
        norm=mel_norm,
        dtype=np.float64,
    )
    weights = mel_filterbank(config, torch.float64)
    assert weights.shape == (config.n_mels, config.n_fft // 2 + 1)
    np.testing.assert_allclose(weights.numpy(), reference, atol=1e-12)
    assert mel_filterbank(config).dtype == torch.float32


def test_filterbank_equals_torchaudio() -> None:
    functional = pytest.importorskip("torchaudio.functional")
    reference = functional.melscale_fbanks(513, 60.0, 7800.0, 64, 16000, norm=None, mel_scale="htk")
    weights = mel_filterbank(FrontendConfig(mel_scale="htk", mel_norm=None))
    torch.testing.assert_close(weights, reference.T, atol=2e-5, rtol=0)  # theirs is computed in float32
