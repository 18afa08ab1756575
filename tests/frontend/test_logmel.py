"""Log-mel spectrograms: against the papers' numbers, SciPy, and between the four implementations."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from byol_a.errors import UsageError
from byol_a.frontend import FrontendConfig, LogMel, mel_filterbank

MODULES = {"torch": "torch", "nnaudio": "nnAudio", "torchaudio": "torchaudio", "librosa": "librosa"}
NAMES = [
    pytest.param(name, marks=pytest.mark.skipif(not importlib.util.find_spec(module), reason=f"no {module}"))
    for name, module in MODULES.items()
]
OTHERS = NAMES[1:]
SILENCE = float(np.log(np.finfo(np.float32).eps))
SMALL = {"n_fft": 64, "win_length": 48, "hop_length": 16, "n_mels": 6, "f_min": 300.0}

Golden = Callable[[str], Mapping[str, np.ndarray]]


def noise(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (0.1 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


def scipy_logmel(wave: np.ndarray, config: FrontendConfig) -> np.ndarray:
    """(S,) -> (F, T), by SciPy's STFT in float64; the clip must be long enough to be mirrored."""
    signal = pytest.importorskip("scipy.signal")
    half, left = config.n_fft // 2, (config.n_fft - config.win_length) // 2
    padded = np.pad(wave.astype(np.float64), half, mode=config.pad_mode)
    window = np.zeros(config.n_fft)
    window[left : left + config.win_length] = signal.get_window("hann", config.win_length)
    stft = signal.ShortTimeFFT(window, config.hop_length, fs=1.0, phase_shift=None)
    # SciPy puts the middle of the window on slice p's sample p * hop, counted in the padded signal.
    frames = 1 + wave.size // config.hop_length
    starts = np.arange(frames) * config.hop_length
    spectra = [stft.stft(padded[s : s + config.n_fft], p0=0, p1=1, k_offset=half)[:, 0] for s in starts]
    power = np.abs(np.stack(spectra, axis=1)) ** 2
    return np.log(mel_filterbank(config, torch.float64).numpy() @ power + np.finfo(np.float32).eps)


@pytest.mark.parametrize("name", NAMES)
def test_golden_numbers(name: str, golden: Golden) -> None:
    numbers = golden("frontend")
    wave = torch.from_numpy(numbers["wave"])
    logmel = LogMel(FrontendConfig(name=name))(wave)
    assert logmel.shape == (64, 96)
    atol = 2e-5 if name == "torchaudio" else 1e-5  # torchaudio computes its filterbank in float32
    np.testing.assert_allclose(logmel, numbers["logmel_nnaudio"], rtol=0, atol=atol)
    np.testing.assert_allclose(logmel, numbers["logmel_librosa_float64"], rtol=0, atol=atol)
    htk = LogMel(FrontendConfig(name=name, mel_scale="htk", mel_norm=None))(wave)
    np.testing.assert_allclose(htk, numbers["logmel_torchaudio_default"], rtol=0, atol=5e-5)


def test_golden_numbers_in_float64(golden: Golden) -> None:
    numbers = golden("frontend")
    logmel = LogMel()(torch.from_numpy(numbers["wave"]).double())
    assert logmel.dtype == torch.float64
    np.testing.assert_allclose(logmel, numbers["logmel_librosa_float64"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pad_mode": "constant"},
        {"mel_scale": "htk", "mel_norm": None},
        {"n_fft": 512, "win_length": 400, "hop_length": 320, "n_mels": 40, "f_min": 0.0, "f_max": 8000.0},
        {"n_fft": 512, "win_length": 401, "hop_length": 77, "n_mels": 17},
    ],
)
@pytest.mark.parametrize("samples", [1025, 15200])
def test_equals_scipy_in_float64(changes: dict, samples: int) -> None:
    config = FrontendConfig(**changes)
    wave = noise(samples, dtype=torch.float64)
    np.testing.assert_allclose(LogMel(config)(wave).numpy(), scipy_logmel(wave.numpy(), config), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "changes",
    [
        {"pad_mode": "constant"},
        {"mel_norm": None},
        {"mel_scale": "htk"},
        {"mel_scale": "htk", "mel_norm": None, "pad_mode": "constant"},
        {"n_fft": 512, "win_length": 400, "hop_length": 320, "n_mels": 40, "f_min": 50.0, "f_max": 8000.0},
        {"n_fft": 512, "win_length": 401, "hop_length": 77, "n_mels": 17},
        {"sample_rate": 44100, "n_fft": 2048, "win_length": 1764, "hop_length": 441, "f_max": 20000.0},
    ],
)
@pytest.mark.parametrize("name", OTHERS)
def test_implementations_agree(name: str, changes: dict) -> None:
    wave = noise(2, 9000)
    ours = LogMel(FrontendConfig(**changes))(wave)
    torch.testing.assert_close(LogMel(FrontendConfig(name=name, **changes))(wave), ours, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", OTHERS)
def test_implementations_agree_on_real_audio(name: str, real_data: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    for path in sorted(real_data.rglob("*.wav"))[:3]:
        wave = torch.from_numpy(soundfile.read(path, dtype="float32", always_2d=True)[0][:, 0])
        ours, theirs = LogMel()(wave), LogMel(FrontendConfig(name=name))(wave)
        # In float32, quiet bins beside loud ones drown in the rounding of the FFT: compare where it is loud.
        loud = ours > ours.max() - 20
        torch.testing.assert_close(theirs[loud], ours[loud], atol=1e-3, rtol=0)


@pytest.mark.parametrize("samples", [0, 1, 10, 159, 160, 511, 512, 513, 1024])
@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
@pytest.mark.parametrize("name", NAMES)
def test_very_short_clips(name: str, pad_mode: str, samples: int) -> None:
    frontend = LogMel(FrontendConfig(name=name, pad_mode=pad_mode))
    wave = noise(samples)
    logmel = frontend(wave)
    assert logmel.shape == (64, 1 + samples // 160) == (64, frontend.frames_of(samples))
    assert logmel.isfinite().all()
    # A clip too short to be mirrored reads as one with zeros at its end.
    extended = torch.cat([wave, torch.zeros(max(0, 513 - samples))])
    reference = LogMel(FrontendConfig(pad_mode=pad_mode))(extended)[:, : logmel.shape[1]]
    torch.testing.assert_close(logmel, reference, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_digital_silence(name: str) -> None:
    logmel = LogMel(FrontendConfig(name=name))(torch.zeros(2, 4000))
    torch.testing.assert_close(logmel, torch.full_like(logmel, SILENCE), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (1, 1, 2), (0,), (2, 0)])
@pytest.mark.parametrize("name", NAMES)
def test_any_batch_shape(name: str, shape: tuple[int, ...]) -> None:
    frontend = LogMel(FrontendConfig(name=name))
    wave = noise(*shape, 2000)
    logmel = frontend(wave)
    assert logmel.shape == (*shape, 64, 13)
    assert logmel.is_contiguous()
    for clip, expected in zip(wave.reshape(-1, 2000), logmel.reshape(-1, 64, 13), strict=True):
        torch.testing.assert_close(frontend(clip), expected, atol=2e-5, rtol=0)


def test_a_wave_laid_out_otherwise_in_memory() -> None:
    frontend, wave = LogMel(), noise(2000, 3)
    torch.testing.assert_close(frontend(wave.T), frontend(wave.T.contiguous()))


@pytest.mark.parametrize(("clips", "samples"), [(1, 400_000), (3, 300_000), (40, 8000)])
def test_blocks_do_not_show(clips: int, samples: int) -> None:
    # Long clips and large batches are transformed block by block: clips and frames must stay in order.
    wave = noise(clips, samples, dtype=torch.float64)
    logmel = LogMel()(wave)
    for clip in (0, clips - 1):
        np.testing.assert_allclose(logmel[clip], scipy_logmel(wave[clip].numpy(), FrontendConfig()), atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
def test_chunks_of_a_padded_signal_give_the_frames_of_the_whole(name: str, pad_mode: str) -> None:
    frontend = LogMel(FrontendConfig(name=name, pad_mode=pad_mode))
    wave = noise(10_000)
    whole, padded = frontend(wave), frontend.pad(wave)
    assert padded.shape == (10_000 + 1024,)
    frames, size = whole.shape[-1], 17
    chunks = [
        frontend.transform(padded[start * 160 : (min(start + size, frames) - 1) * 160 + 1024])
        for start in range(0, frames, size)
    ]
    torch.testing.assert_close(torch.cat(chunks, dim=-1), whole, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_precision_of_the_result(name: str, dtype: torch.dtype) -> None:
    wave = noise(3000).to(dtype)
    logmel = LogMel(FrontendConfig(name=name))(wave)
    double = dtype == torch.float64 and name in ("torch", "librosa")
    assert logmel.dtype == (torch.float64 if double else torch.float32)
    torch.testing.assert_close(logmel, LogMel()(wave.float()), atol=1e-4, rtol=0, check_dtype=False)


@pytest.fixture
def _default_precision() -> Iterator[None]:
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.usefixtures("_default_precision")
@pytest.mark.parametrize("name", NAMES)
def test_lower_precision_around_it_changes_nothing(name: str) -> None:
    frontend, wave = LogMel(FrontendConfig(name=name)), noise(4, 8000)
    expected = frontend(wave)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(frontend(wave), expected)
    torch.set_float32_matmul_precision("medium")
    assert torch.equal(frontend.half()(wave), expected)
    assert torch.get_float32_matmul_precision() == "medium"


def test_the_newer_precision_switches_change_nothing_either() -> None:
    if not hasattr(torch.backends.mkldnn, "matmul"):
        pytest.skip("this torch has no per-backend precision switches")
    program = """
import torch
from byol_a.frontend import FrontendConfig, LogMel
wave = torch.rand(4, 8000)
expected = LogMel()(wave)
torch.backends.mkldnn.matmul.fp32_precision = "bf16"
torch.backends.cuda.matmul.fp32_precision = "tf32"
assert torch.equal(LogMel()(wave), expected)
assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
"""
    # In a process of its own: the two kinds of switches must not meet in one program.
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_has_no_state() -> None:
    frontend = LogMel()
    frontend(noise(100))
    assert not frontend.state_dict() and not list(frontend.buffers())


def test_gradient_reaches_the_wave() -> None:
    frontend = LogMel(FrontendConfig(**SMALL))
    wave = noise(2, 150, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(frontend, (wave,))
    short = noise(5, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(frontend, (short,))


def test_gradient_of_silence_is_finite() -> None:
    wave = torch.zeros(600, requires_grad=True)
    LogMel()(wave).sum().backward()
    assert wave.grad is not None and wave.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_agree_where_there_are_any(name: str) -> None:
    ours, theirs = noise(2000).requires_grad_(), noise(2000).requires_grad_()
    frontend = LogMel(FrontendConfig(name=name))
    if name == "librosa":
        with pytest.raises(UsageError, match="no gradient"):
            frontend(theirs)
        with torch.no_grad():
            frontend(theirs)
        return
    LogMel()(ours).mean().backward()
    frontend(theirs).mean().backward()
    torch.testing.assert_close(theirs.grad, ours.grad, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("name", ["torch", "nnaudio", "torchaudio"])
def test_can_train_after_inference(name: str) -> None:
    # Tables made under inference_mode must not be the ones training differentiates through.
    pytest.importorskip(MODULES[name])
    frontend = LogMel(FrontendConfig(name=name, n_mels=33))  # a configuration no other test has cached
    with torch.inference_mode():
        frontend(noise(1000))
    wave = noise(1000).requires_grad_()
    frontend(wave).sum().backward()
    assert wave.grad is not None


def test_the_wave_is_left_alone() -> None:
    wave = noise(2, 3000)
    before = wave.clone()
    frontend = LogMel()
    frontend(wave)
    frontend.transform(wave)
    assert torch.equal(wave, before)


@pytest.mark.parametrize(
    ("wave", "sentence"),
    [
        (torch.zeros(100, dtype=torch.int16), "int16"),
        (torch.zeros(100, dtype=torch.complex64), "complex64"),
        (np.zeros(100, dtype=np.float32), "ndarray"),
        (torch.tensor(0.5), "single number"),
    ],
)
def test_what_is_not_a_wave_is_refused(wave: object, sentence: str) -> None:
    for method in (LogMel(), LogMel().pad, LogMel().transform):
        with pytest.raises(UsageError, match=sentence):
            method(wave)


def test_a_signal_shorter_than_a_frame_needs_padding_first() -> None:
    with pytest.raises(UsageError, match=r"pad\(\)"):
        LogMel().transform(torch.zeros(1023))


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_cuda_equals_cpu(name: str) -> None:
    frontend, wave = LogMel(FrontendConfig(name=name)), noise(8, 15200)
    result = frontend(wave.cuda())
    assert result.is_cuda
    torch.testing.assert_close(result.cpu(), LogMel()(wave), atol=1e-4, rtol=0)
