"""Long audio in pieces: equal to the whole, in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from byol_a import UsageError, encoding
from byol_a.encoders import pool_time
from byol_a.frontend import FrontendConfig, LogMel
from byol_a.streaming import TimePool, stream_frames, stream_log_mels
from tests.test_model import ENCODERS, small_model, wave


@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
@pytest.mark.parametrize("samples", [1, 159, 513, 1024, 5000, 16001])
@pytest.mark.parametrize("block", [1, 100, 1024, 7777])
def test_log_mels_of_blocks_equal_the_whole(samples, block, pad_mode):
    logmel = LogMel(FrontendConfig(pad_mode=pad_mode))
    signal = torch.from_numpy(wave(samples)).double()
    if block == 1:
        signal = signal[:1500]
    pieces = list(stream_log_mels(signal.split(block), logmel))
    torch.testing.assert_close(torch.cat(pieces, dim=1), logmel(signal), atol=1e-9, rtol=0)


@pytest.mark.parametrize("block", [1, 7, 100, 1000])
@pytest.mark.parametrize("hop", [64, 100, 300])
def test_log_mels_whose_frames_lie_apart(block, hop):
    """A hop longer than the window: what lies between two frames may end in a later block."""
    logmel = LogMel(FrontendConfig(n_fft=64, win_length=64, hop_length=hop, n_mels=8))
    signal = torch.from_numpy(wave(3001)).double()
    pieces = list(stream_log_mels(signal.split(block), logmel))
    torch.testing.assert_close(torch.cat(pieces, dim=1), logmel(signal), atol=1e-9, rtol=0)


@pytest.mark.parametrize(("name", "options"), ENCODERS)
@pytest.mark.parametrize("chunk_seconds", [0.01, 0.3, 7.0, 1000.0])
def test_frames_of_chunks_equal_the_whole(name, options, chunk_seconds):
    """100 s, against one pass of the encoder over the whole signal."""
    model = small_model(name, options)
    signal = wave(16000 * 100 + 77 if chunk_seconds > 0.1 else 16000 * 3 + 77)
    with torch.no_grad():
        x = model.encoder_input(model.frontend(torch.from_numpy(signal)[None]))
        whole = model.encoder.frames(x)[0].numpy()
    pieces = list(model.iter_frames(signal, chunk_seconds))
    assert all(len(piece) for piece in pieces)
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-4)


@pytest.mark.parametrize(("name", "options"), ENCODERS)
def test_all_layers_of_chunks_in_float64(name, options):
    model = small_model(name, options).double()
    for samples in (1, 700, 16000, 16000 + 320, 31234):
        signal = wave(samples)
        padded = np.pad(signal, (0, max(0, (model.encoder.min_frames - 1) * 160 - samples)))
        with torch.no_grad():
            x = model.encoder_input(model.frontend(torch.from_numpy(padded).double()[None]))
            whole = model.encoder.layer_frames(x)
        chunks = list(stream_frames(model, np.array_split(signal, 3), 0.2, all_layers=True))
        for index, layer in enumerate(whole):
            joined = torch.cat([chunk[index] for chunk in chunks])
            torch.testing.assert_close(joined, layer[0], atol=1e-9, rtol=0)


def test_long_inputs_are_streamed_with_the_same_result(monkeypatch, tmp_path, write_wav):
    model = small_model()
    path = write_wav(tmp_path / "long.wav", seconds=9.37)
    inputs = [path, wave(16000 * 7), wave(8000)]
    whole = {level: model.encode(inputs, level=level) for level in ("clip", "frame", "layers")}
    monkeypatch.setattr("byol_a.inputs.LONG_SECONDS", 1.0)
    monkeypatch.setattr(encoding, "CHUNK_SECONDS", 0.7)
    for level, expected in whole.items():
        for row, other in zip(model.encode(inputs, level=level), expected, strict=True):
            np.testing.assert_allclose(row, other, atol=1e-5)


def test_time_pool_equals_pooling_the_whole():
    frames = torch.randn(101, 7)
    pool = TimePool()
    for piece in frames.split(9):
        pool.update([piece])
    torch.testing.assert_close(pool.result()[0], frames.amax(0) + frames.mean(0))
    for pooling, expected in (("mean", frames.mean(0)), ("max", frames.amax(0))):
        pool = TimePool(pooling)
        for piece in frames.split(9):
            pool.update([piece])
        torch.testing.assert_close(pool.result()[0], expected)


def test_an_unknown_pooling_is_refused():
    for pool in (TimePool, lambda pooling: pool_time(torch.zeros(1, 3, 2), None, pooling)):
        for pooling in ("min", "model"):
            with pytest.raises(UsageError, match=f"pooling is one of mean, max, mean\\+max, not '{pooling}'"):
                pool(pooling)


def test_encoders_without_context_take_chunks_as_clips():
    pytest.importorskip("timm")
    model = small_model("timm:resnet10t", {})
    frames = list(model.iter_frames(wave(16000 * 5), 2.0))
    assert len(frames) >= 2 and all(piece.shape[1] == model.embedding_dim for piece in frames)


def test_layer_norm_takes_chunks_as_clips(monkeypatch):
    model = small_model("AudioNTT2020", {"embedding_dim": 16, "channels": 8, "norm": "layer"})
    signal = wave(16000 * 5)
    pieces = list(model.iter_frames(signal, 2.0))
    assert [len(piece) for piece in pieces] == [25, 25, 12]
    with torch.no_grad():
        x = model.encoder_input(model.frontend(torch.from_numpy(signal)[None]))
        for piece, start in zip(pieces, (0, 200, 400), strict=True):
            clip = model.encoder.frames(x[..., start : start + 200])[0]
            np.testing.assert_allclose(piece, clip.numpy(), atol=1e-4)
    monkeypatch.setattr("byol_a.inputs.LONG_SECONDS", 1.0)
    monkeypatch.setattr(encoding, "CHUNK_SECONDS", 2.0)
    expected = np.concatenate(pieces)
    np.testing.assert_allclose(model.encode(signal), expected.max(0) + expected.mean(0), atol=1e-4)


MEMORY = """
import json, resource, sys
import numpy as np, torch
torch.set_num_threads(1)
from tests.test_model import small_model
model = small_model("AudioNTT2020", {"embedding_dim": 16})
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
model.encode(sys.argv[1])  # warm up: half a minute
before = peak()
for path in sys.argv[2:]:
    model.encode(path)
    for frames in model.iter_frames(path):
        pass
print(json.dumps([before, peak()]))
"""


def test_memory_does_not_grow_with_length(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    pytest.importorskip("resource")
    for name, minutes in (("short.wav", 1.1), ("long.wav", 8)):
        with soundfile.SoundFile(tmp_path / name, "w", 16000, 1, subtype="PCM_16") as file:
            for _ in range(round(minutes * 6)):
                file.write(wave(160_000))
    output = subprocess.run(
        [sys.executable, "-c", MEMORY, tmp_path / "short.wav", tmp_path / "long.wav"],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    ).stdout
    before, after = json.loads(output)
    # Held whole, 8 minutes would take 30 MB as samples and 200 MB at least as the first layer's output.
    assert after - before < 60, f"{before:.0f} MB before, {after:.0f} MB after"
