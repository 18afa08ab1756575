"""Embeddings of a model: those of `BYOLA.encode`, of the pooling, layer, cut and normalisation asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from byol_a import BYOLA, NormStats, UsageError
from byol_a.data.io import read_audio
from downstream.features import EmbeddingCache, EmbeddingRequest, EmbeddingSource, ModelFeatures
from downstream.features.cuts import cut
from downstream.tasks.base import Clip
from tests.test_model import small_model


@pytest.fixture
def clips(tmp_path: Path, write_wav: Callable[..., Path]) -> list[Clip]:
    lengths = (0.3, 1.7, 0.9, 2.2)
    paths = [write_wav(tmp_path / f"{n}.wav", seconds, seed=n) for n, seconds in enumerate(lengths)]
    paths.insert(2, tmp_path / "bad.wav")
    paths[2].write_text("no audio")
    return [Clip(path, ("a",), "train") for path in paths]


@pytest.fixture
def model() -> BYOLA:
    return small_model()


GOOD = [0, 1, 3, 4]


def source(features: ModelFeatures, clips: list[Clip], folder: Path | None = None) -> EmbeddingSource:
    return EmbeddingSource(features, clips, EmbeddingCache(folder), progress=False)


def test_whole_clips_are_what_encode_gives(clips: list[Clip], model: BYOLA, tmp_path: Path) -> None:
    one = source(ModelFeatures("m", model), clips, tmp_path / "cache")
    matrix = one.matrix()
    np.testing.assert_allclose(matrix[GOOD], model.encode([clips[index].path for index in GOOD]), atol=1e-5)
    assert np.isnan(matrix[2]).all() and [path for path, _ in one.problems.items()] == [str(clips[2].path)]


@pytest.mark.parametrize("kind", ["first", "random"])
def test_cuts_with_the_statistics_of_a_task(clips: list[Clip], model: BYOLA, kind: str) -> None:
    one = source(ModelFeatures("m", model), clips)
    stats = one.statistics([0, 1, 2])
    assert stats is not None
    waves = [read_audio(clips[index].path) for index in (0, 1)]
    log_mels = np.concatenate([model.frontend(torch.from_numpy(wave)).double().numpy().ravel() for wave in waves])
    np.testing.assert_allclose(stats, (log_mels.mean(), log_mels.std()), rtol=1e-5)
    request = EmbeddingRequest(kind, 1.0, 5, stats)  # type: ignore[arg-type]
    normalised = BYOLA(model.encoder_name, model.encoder_options, model.frontend.config, NormStats(*stats)).eval()
    normalised.encoder.load_state_dict(model.encoder.state_dict())
    cuts = [cut(read_audio(clips[index].path), request, index, 16000) for index in GOOD]
    np.testing.assert_allclose(one.matrix(request)[GOOD], normalised.encode(cuts), atol=1e-4)
    assert model.normalization == NormStats(-7.0, 4.0)


@pytest.mark.parametrize("pooling", ["model", "mean", "max", "mean+max"])
@pytest.mark.parametrize("layer", [None, 0, 2, "all"])
def test_poolings_and_layers(clips: list[Clip], model: BYOLA, pooling: str, layer: int | str | None) -> None:
    features = ModelFeatures("m", model, pooling=pooling, layer=layer)  # type: ignore[arg-type]
    matrix = source(features, [clips[index] for index in GOOD]).matrix()
    for clip, row in zip((clips[index] for index in GOOD), matrix, strict=True):
        x = model.encoder_input(model.frontend(torch.from_numpy(read_audio(clip.path))[None]))
        with torch.no_grad():
            layers = [model.encoder.frames(x)] if layer is None else model.encoder.layer_frames(x)
        chosen = layers if layer in (None, "all") else [layers[int(layer)]]
        how = {"mean": lambda f: f.mean(0), "max": lambda f: f.amax(0)}.get(pooling, lambda f: f.amax(0) + f.mean(0))
        np.testing.assert_allclose(row, torch.cat([how(frames[0]) for frames in chosen]), atol=1e-5)


def test_another_reading_has_another_fingerprint(model: BYOLA) -> None:
    poolings, layers = ("model", "mean", "max", "mean+max"), (None, 0, 1, "all")
    prints = {
        ModelFeatures("m", model, pooling=pooling, layer=layer).fingerprint()  # type: ignore[arg-type]
        for pooling in poolings
        for layer in layers
    }
    assert len(prints) == 16 and model.fingerprint() in prints


def test_a_layer_or_pooling_there_is_not(model: BYOLA) -> None:
    for layer in (-1, 4, "first"):
        with pytest.raises(UsageError, match="layers 0 to 3, and all"):
            ModelFeatures("m", model, layer=layer)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="model, mean, max, mean"):
        ModelFeatures("m", model, pooling="min")  # type: ignore[arg-type]


def test_the_real_clips_of_esc10(real_data: Path, tmp_path: Path) -> None:
    paths = sorted((real_data / "esc10" / "audio").iterdir())[:6]
    clips = [Clip(path, ("a",), "train") for path in paths]
    model = small_model("AudioNTT2020", {"embedding_dim": 16})
    one = source(ModelFeatures("m", model), clips, tmp_path)
    np.testing.assert_allclose(one.matrix(), model.encode(paths), atol=1e-5)
    assert one.matrix(EmbeddingRequest("random", 1.0)).shape == (6, 16) and not len(one.problems)


@pytest.mark.gpu
def test_on_a_gpu(clips: list[Clip], model: BYOLA) -> None:
    expected = source(ModelFeatures("m", model), clips).matrix()
    features = ModelFeatures("m", model, device="cuda")
    request = EmbeddingRequest("random", 1.0, stats=(-6.0, 3.0))
    np.testing.assert_allclose(source(features, clips).matrix()[GOOD], expected[GOOD], atol=1e-3)
    assert np.isfinite(source(features, clips).matrix(request)[GOOD]).all()
    assert source(features, clips).statistics(range(4)) is not None
