"""The kernels' log-mels against torch's Fourier transform in float64: every size there is, any mel weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from byol_a.kernels import Kernels, kernels_for, why_none
from byol_a.kernels.spectrum import SIZES, Spectrum

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(kernels_for(CPU) is None, reason=f"the CPU has no kernels: {why_none(CPU)}")
EPS = 1e-7


@pytest.fixture
def kernels() -> Kernels:
    found = kernels_for(CPU)
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def reference(padded: Tensor, window: Tensor, mel: Tensor, hop: int) -> Tensor:
    """(B, S) float64 to (B, F, T)."""
    frames = padded.unfold(-1, len(window), hop)
    power = torch.fft.rfft(frames * window).abs().square()
    return (power @ mel.T + EPS).log().transpose(1, 2)


def some_mel(n_fft: int, dense: bool = False) -> Tensor:
    """Mel weights (7, n_fft // 2 + 1): of every frequency, or few here and there and of one bin none."""
    mel = torch.rand(7, n_fft // 2 + 1, dtype=torch.float64) + 0.1
    if dense:
        return mel
    mel *= torch.rand(mel.shape) < 0.1
    mel[3] = 0
    return mel


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("n_fft", [1 << bits for bits in range(7, 15)])
def test_every_size(kernels: Kernels, n_fft: int, dense: bool) -> None:
    window, mel = torch.rand(n_fft, dtype=torch.float64), some_mel(n_fft, dense)
    wave = torch.randn(3, n_fft + 22 * 31, dtype=torch.float64)  # 23 frames, so that groups of lanes hold two clips
    expected = reference(wave, window, mel, 31)
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 1e-3)):
        spectrum = Spectrum.of(window, mel, dtype)
        found = kernels.log_mel(wave.to(dtype), spectrum, 31, 0, False, EPS)
        assert found.dtype == dtype and found.is_contiguous()
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)
        assert (found - expected).square().mean().sqrt() < tolerance / 10


@pytest.mark.parametrize("n_fft", [0, 100, 127, SIZES[0] // 2, 1000, SIZES[1] * 2])
def test_other_sizes_are_not_taken(n_fft: int) -> None:
    assert not Spectrum.takes(n_fft)
    assert all(Spectrum.takes(size) for size in SIZES)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("samples", [0, 1, 2, 63, 64, 65, 100, 1000])
def test_what_stands_beyond_the_ends(kernels: Kernels, samples: int, mirror: bool) -> None:
    wave = torch.randn(2, samples, dtype=torch.float64)
    padded = torch.nn.functional.pad(wave, (0, max(0, 65 - samples) if mirror else 0))
    padded = torch.nn.functional.pad(padded, (64, 64), mode="reflect" if mirror else "constant")[:, : samples + 128]
    window, mel = torch.hann_window(128, dtype=torch.float64), some_mel(128)
    found = kernels.log_mel(wave, Spectrum.of(window, mel, torch.float64), 16, 64, mirror, EPS)
    torch.testing.assert_close(found, reference(padded, window, mel, 16), rtol=0, atol=1e-11)


def test_rows_of_a_larger_tensor(kernels: Kernels) -> None:
    waves = torch.randn(4, 3, 900)
    spectrum = Spectrum.of(torch.hann_window(256, dtype=torch.float64), some_mel(256), torch.float32)
    part = waves[:, 1, 5:805]
    found = kernels.log_mel(part, spectrum, 100, 128, True, EPS)
    assert torch.equal(found, kernels.log_mel(part.contiguous(), spectrum, 100, 128, True, EPS))
