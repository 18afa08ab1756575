"""The fast log-mel equals the plain one, is as exact, and does not depend on what stands beside a frame."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from byol_a.frontend import FrontendConfig, LogMel, logmel
from byol_a.kernels import kernels_for, why_none

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(kernels_for(CPU) is None, reason=f"the CPU has no kernels: {why_none(CPU)}")
CONFIGS = {
    "default": FrontendConfig(),
    "zeros": FrontendConfig(pad_mode="constant"),
    "htk": FrontendConfig(mel_scale="htk", mel_norm=None),
    "odd": FrontendConfig(n_fft=512, win_length=401, hop_length=77, n_mels=17),
    "empty bins": FrontendConfig(n_fft=256, win_length=200, n_mels=80, f_min=0.0, f_max=8000.0),
    "frames apart": FrontendConfig(n_fft=128, win_length=128, hop_length=300, n_mels=9),
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def both(config: FrontendConfig) -> tuple[LogMel, LogMel]:
    fast, plain = LogMel(config), LogMel(config)
    plain.fast = False
    return fast, plain


@pytest.mark.parametrize("samples", [0, 1, 300, 513, 3500, 15200])
@pytest.mark.parametrize("name", CONFIGS)
def test_both_paths_agree(name: str, samples: int) -> None:
    fast, plain = both(CONFIGS[name])
    wave = 0.1 * torch.randn(2, 3, samples, dtype=torch.float64)
    expected = plain(wave)
    torch.testing.assert_close(fast(wave), expected, rtol=0, atol=1e-11)
    torch.testing.assert_close(fast(wave.float()).double(), expected, rtol=0, atol=1e-4)
    padded = fast.pad(wave)
    torch.testing.assert_close(fast.transform(padded), expected, rtol=0, atol=1e-11)


def signals() -> dict[str, Tensor]:
    """Noise, its quietest audible kind, tones (whose empty bins are rounding noise), clicks."""
    time = torch.arange(15200) / 16000
    tones = torch.stack([0.5 * torch.sin(2 * torch.pi * (100 + 67 * i) * time) for i in range(32)])
    clicks = torch.zeros(32, 15200).index_fill_(1, torch.tensor([3000, 9000]), 0.9)
    noise = torch.randn(32, 15200)
    return {"noise": 0.1 * noise, "quiet": 1e-5 * noise, "tones": tones + 1e-4 * noise, "clicks": clicks}


@pytest.mark.parametrize(("name", "most"), [("noise", 2e-7), ("quiet", 4e-7), ("tones", 2e-4), ("clicks", 6e-7)])
def test_float32_is_as_exact_as_on_the_plain_path(name: str, most: float) -> None:
    fast, plain = both(FrontendConfig())
    wave = signals()[name]
    expected = plain(wave.double())
    of_fast, of_plain = ((path(wave) - expected).square().mean().sqrt() for path in (fast, plain))
    assert of_fast <= min(most, 1.1 * of_plain)


def test_a_frame_is_the_same_wherever_it_stands() -> None:
    frontend = LogMel()
    wave = 0.1 * torch.randn(5, 8000)
    whole, padded = frontend(wave), frontend.pad(wave)
    for clip in range(5):
        assert torch.equal(frontend(wave[clip]), whole[clip])
    for first in (0, 1, 7, 30):
        assert torch.equal(
            frontend.transform(padded[:, first * 160 : first * 160 + 1024]), whole[..., first : first + 1]
        )


@pytest.mark.usefixtures("_threads")
def test_the_number_of_threads_changes_nothing() -> None:
    wave, results = 0.1 * torch.randn(7, 5000), []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        results.append(LogMel()(wave))
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_shows_where_it_stood(value: float) -> None:
    wave = 0.1 * torch.randn(2, 8000)
    wave[0, 4000] = value
    result = LogMel()(wave)
    hidden = ~result.isfinite()
    assert hidden[0, :, 23:28].all() and not hidden[0, :, :20].any() and not hidden[0, :, 31:].any()
    assert not hidden[1].any()


def _refuse(*arguments: object) -> Tensor:
    raise AssertionError("the fast path was taken")


@pytest.mark.parametrize(
    "config",
    [FrontendConfig(n_fft=1000, win_length=1000), FrontendConfig(n_fft=64, win_length=64, n_mels=4, f_min=300.0)],
    ids=["no power of two", "too small"],
)
def test_sizes_there_is_no_kernel_for_take_the_plain_path(
    config: FrontendConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logmel, "log_mel", _refuse)
    fast, plain = both(config)
    wave = torch.randn(2, 3000)
    assert torch.equal(fast(wave), plain(wave))


def test_gradients_and_tracing_take_the_plain_path(monkeypatch: pytest.MonkeyPatch) -> None:
    wave = 0.1 * torch.randn(2000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a trace is for one length, and deprecated
        traced = torch.jit.trace(LogMel(), wave)
    torch.testing.assert_close(traced(2 * wave), LogMel()(2 * wave), rtol=0, atol=1e-5)
    monkeypatch.setattr(logmel, "log_mel", _refuse)
    LogMel()(wave.requires_grad_()).sum().backward()
    assert wave.grad is not None


def test_without_kernels_the_plain_path_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byol_a.frontend.fast.kernels_for", lambda device: None)
    wave = torch.randn(2, 3000)
    fast, plain = both(FrontendConfig())
    assert torch.equal(fast(wave), plain(wave))


def test_transformations_take_the_plain_path() -> None:
    frontend, waves = LogMel(), torch.randn(3, 4000, dtype=torch.float64)
    expected = frontend(waves)
    torch.testing.assert_close(torch.func.vmap(frontend)(waves[:, None])[:, 0], expected)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(waves, torch.ones_like(waves))
        assert torch.autograd.forward_ad.unpack_dual(frontend(dual)).tangent is not None
