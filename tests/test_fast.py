"""Embeddings by kernels are those of the plain path, however they are asked for; and the switch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from byol_a import BYOLA, FrontendConfig, NormStats
from byol_a.cli import cli
from byol_a.embed import embed
from byol_a.errors import UsageError
from byol_a.kernels import build, why_none

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(why_none(CPU) is not None, reason=f"no kernels here: {why_none(CPU)}")
MODELS = {"AudioNTT2020": {"embedding_dim": 64}, "AudioNTT2022": {"hidden_dim": 64}}
SAMPLES = [1, 700, 8001, 16000, 16000, 16000, 24555, 40003, 16000 * 61 + 7]  # shorter than a frame; streamed


def make_model(encoder: str, dtype: torch.dtype = torch.float32, **options: object) -> BYOLA:
    torch.manual_seed(0)
    model = BYOLA(encoder, MODELS[encoder] | options, FrontendConfig(), NormStats(-7.0, 4.5)).eval()
    return model.to(dtype)


def waves() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [(0.1 * rng.standard_normal(samples)).astype(np.float32) for samples in SAMPLES]


def both(model: BYOLA, work: Callable[[], object]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What `work` gives on the fast path, and on the plain one, as arrays."""
    found = []
    for fast in ("on", "off"):
        model.use_fast(fast)
        result = work()
        found.append(list(result) if isinstance(result, (list, tuple)) else [np.asarray(result)])
    return found[0], found[1]


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=str)
@pytest.mark.parametrize("level", ["clip", "frame", "layers"])
@pytest.mark.parametrize("encoder", MODELS)
def test_encode(encoder: str, level: str, dtype: torch.dtype, tolerance: float, threads: None) -> None:
    model = make_model(encoder, dtype)
    fast, plain = both(model, lambda: model.encode(waves(), 3, level))
    assert [array.shape for array in fast] == [array.shape for array in plain]
    for ours, theirs in zip(fast, plain, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("pooling", ["mean", "max", "mean+max"])
def test_poolings(pooling: str) -> None:
    model = make_model("AudioNTT2022")
    (fast,), (plain,) = both(model, lambda: model.encode(waves(), pooling=pooling))
    np.testing.assert_allclose(fast, plain, rtol=1e-5, atol=1e-5)


def test_no_clip_looks_at_the_others() -> None:
    model = make_model("AudioNTT2022")
    together = model.encode(waves())
    for wave, row in zip(waves(), together, strict=True):
        np.testing.assert_allclose(model.encode(wave), row, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("hidden_dim", [64, 48])  # what the matrix unit takes, and what it does not
@pytest.mark.parametrize("pooling", ["model", "max"])
def test_bfloat16_is_near(pooling: str, hidden_dim: int) -> None:
    model = make_model("AudioNTT2022", hidden_dim=hidden_dim)
    truth = model.use_fast("off") or model.encode(waves(), pooling=pooling)
    (fast,), (plain,) = both(model, lambda: model.encode(waves(), precision="bf16", pooling=pooling))
    assert np.linalg.norm(fast - truth) < 1.2 * np.linalg.norm(plain - truth)


def test_weight_samples() -> None:
    model = make_model("AudioNTT2022", variational=True)
    (fast_mean, fast_std), (mean, std) = both(model, lambda: model.encode(waves(), samples=3))
    np.testing.assert_allclose(fast_mean, mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(fast_std, std, rtol=1e-4, atol=1e-5)


def test_changed_weights_are_seen() -> None:
    model = make_model("AudioNTT2022")
    before = model.encode(waves()[5])
    with torch.no_grad():
        model.encoder.fc[3].bias.data += 1.0
    assert (model.encode(waves()[5])[-64:] >= before[-64:]).all()
    (fast,), (plain,) = both(model, lambda: model.encode(waves()[5]))
    np.testing.assert_allclose(fast, plain, rtol=1e-5, atol=1e-5)


def test_weights_that_are_no_numbers_are_not_hidden() -> None:
    model = make_model("AudioNTT2022")
    with torch.no_grad():
        model.encoder.features[4].weight[3] = torch.nan
    (fast,), (plain,) = both(model, lambda: model.encode(waves()[5:6]))
    assert np.isnan(plain).any()
    np.testing.assert_array_equal(np.isnan(fast), np.isnan(plain))


@pytest.mark.parametrize("options", [{}, {"window": 0.9, "hop": 0.4}, {"level": "frame"}], ids=str)
def test_embed(tmp_path: Path, write_wav: Callable[..., Path], options: dict[str, object]) -> None:
    for number, seconds in enumerate((0.02, 0.5, 3.0, 1.7, 61.0)):
        write_wav(tmp_path / "sounds" / f"{number}.wav", seconds=seconds, seed=number)
    model = make_model("AudioNTT2022")
    stores = []
    for fast in ("on", "off"):
        model.use_fast(fast)
        stores.append(embed(model, [tmp_path / "sounds"], tmp_path / fast, progress=False, **options))
    assert stores[0].provenance["settings"] == stores[1].provenance["settings"]
    np.testing.assert_allclose(stores[0].embeddings, stores[1].embeddings, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("level", ["clip", "frame", "layers"])
def test_a_gpu_gives_the_same(level: str) -> None:
    model = make_model("AudioNTT2022")
    expected = model.encode(waves(), 3, level)
    model.to("cuda")
    for found in both(model, lambda: model.encode(waves(), 3, level)):
        for ours, theirs in zip(found, list(expected) if level != "clip" else [expected], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_the_switch() -> None:
    model = make_model("AudioNTT2022")
    assert model.use_fast("off") is None and not model.encoder.fast and not model.frontend.fast
    assert model.use_fast("on") is None and model.encoder.fast and model.frontend.fast
    assert model.use_fast() is None and model.encoder.fast
    odd = make_model("AudioNTT2022", hidden_dim=50)
    with pytest.raises(UsageError, match="fast=on is not possible here, because it takes channels"):
        odd.use_fast("on")
    assert "plain path" in (odd.use_fast("auto") or "")
    fast, plain = odd.encode(waves()), odd.use_fast("off") or odd.encode(waves())
    np.testing.assert_allclose(fast, plain, rtol=1e-5, atol=1e-5)


def test_other_encoders_take_the_plain_path_without_a_word() -> None:
    pytest.importorskip("timm")
    model = BYOLA("timm:resnet10t", {}, FrontendConfig(), NormStats(-7.0, 4.5)).eval()
    assert model.use_fast("auto") is None
    sounds = waves()[3:6]
    np.testing.assert_allclose(
        model.encode(sounds), model.use_fast("off") or model.encode(sounds), rtol=1e-4, atol=1e-4
    )
    with pytest.raises(UsageError, match="TimmEncoder has none"):
        model.use_fast("on")


def test_the_command(tmp_path: Path, write_wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    write_wav(tmp_path / "sounds" / "one.wav")
    make_model("AudioNTT2022").save_pretrained(tmp_path / "model")
    make_model("AudioNTT2022", hidden_dim=50).save_pretrained(tmp_path / "odd")

    def run(model: str, fast: str) -> str:
        arguments = ["embed", tmp_path / model, tmp_path / "sounds", "--out", tmp_path / "store", "--overwrite"]
        command = [*map(str, arguments), "--device", "cpu", "--fast", fast]
        return CliRunner().invoke(cli, command, catch_exceptions=False).output

    for fast in ("auto", "on", "off"):
        said = run("model", fast)
        assert "1 embedding of 1 file" in said and "path" not in said and "compiling" not in said
    assert "the plain path is taken" in run("odd", "auto")
    with pytest.raises(UsageError, match="fast=on is not possible here"):
        run("odd", "on")

    # The first use is announced, where there is something to compile; not where it is not wanted.
    monkeypatch.setattr(build, "library_path", lambda: tmp_path / "none.so")
    assert "compiling kernels" in run("model", "auto")
    assert "compiling kernels" not in run("model", "off")
