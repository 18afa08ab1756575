"""Mean and deviation of embeddings over weight samples: in encode, embed and evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from byol_a import BYOLA, AudioError, UsageError, inputs
from byol_a.cli.embed import embed as embed_command
from byol_a.embed import embed
from byol_a.encoders.variational import gaussians, make_variational, weight_sample
from byol_a.store import read_store
from downstream.cli.evaluate import evaluate as evaluate_command

from .test_model import small_model, wave

K = 4


@pytest.fixture
def model() -> BYOLA:
    made = small_model(options={"hidden_dim": 16, "variational": True})
    make_variational(made.encoder, -3.0)
    return made


def by_hand(model: BYOLA, *arguments: Any, **options: Any) -> list[Any]:
    """What `encode` gives with each sample."""
    found = []
    for seed in range(K):
        with weight_sample(model.encoder, seed):
            found.append(model.encode(*arguments, **options))
    return found


@pytest.mark.parametrize("long_seconds", [60.0, 0.9])
@pytest.mark.parametrize("level", ["clip", "frame", "layers"])
def test_mean_and_deviation_over_the_samples(
    model: BYOLA, monkeypatch: pytest.MonkeyPatch, write_wav: Any, tmp_path: Path, level: Any, long_seconds: float
) -> None:
    monkeypatch.setattr(inputs, "LONG_SECONDS", long_seconds)
    sounds = [wave(16000, 1), write_wav(tmp_path / "a.wav", 1.5), wave(9000, 2)]
    mean, std = model.encode(sounds, level=level, samples=K)
    drawn = by_hand(model, sounds, level=level)
    for part in range(len(mean)):  # clips or layers
        rows = np.stack([each[part] for each in drawn]).astype(np.float64)
        np.testing.assert_allclose(mean[part], rows.mean(0), atol=1e-5)
        np.testing.assert_allclose(std[part], rows.std(0, ddof=1), atol=1e-5)
        assert mean[part].dtype == std[part].dtype == np.float32 and std[part].mean() > 1e-3


def test_every_input_has_the_same_samples_and_bad_ones_are_nan(model: BYOLA) -> None:
    sounds = [wave(9000, seed) for seed in range(3)]
    bad = np.full(9000, np.nan, np.float32)
    mean, std = model.encode([*sounds, bad], samples=K, on_error=lambda *_: None, convert_to="tensor")
    assert isinstance(mean, torch.Tensor) and mean.shape == std.shape == (4, model.embedding_dim)
    assert mean[3].isnan().all() and std[3].isnan().all()
    for number, sound in enumerate(sounds):
        for many, alone in zip((mean, std), model.encode(sound, samples=K), strict=True):
            np.testing.assert_allclose(many[number], alone, atol=1e-5)
    with pytest.raises(AudioError, match="input 0"):
        model.encode([bad], samples=K)
    assert [part.shape for part in model.encode([], samples=K)] == [(0, model.embedding_dim)] * 2


def test_a_saved_model_gives_the_same_samples_and_its_deviations_are_part_of_it(model: BYOLA, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "model")
    again = BYOLA.from_pretrained(tmp_path / "model")
    for one, other in zip(model.encode(wave(9000), samples=2), again.encode(wave(9000), samples=2), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.fingerprint() == model.fingerprint()
    with torch.no_grad():
        next(gaussians(again.encoder))[1].rho[0, 0] += 0.1
    assert again.fingerprint() != model.fingerprint()
    fresh = model.with_random_weights(0)
    assert fresh.encode(wave(9000), samples=2)[1].min() >= 0


def test_wrong_numbers_and_models_without_deviations_are_refused(model: BYOLA, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 2 weight samples, not 1"):
        model.encode(wave(9000), samples=1)
    with pytest.raises(UsageError, match="no deviation to draw samples from"):
        small_model().encode(wave(9000), samples=2)
    with pytest.raises(UsageError, match="--level clip"):
        embed(model, [], tmp_path / "store", level="frame", samples=2)


@pytest.mark.parametrize(("long_seconds", "window"), [(60.0, None), (0.9, None), (60.0, 0.5), (0.9, 0.5)])
def test_embed_writes_them_side_by_side(
    model: BYOLA, monkeypatch: pytest.MonkeyPatch, write_wav: Any, tmp_path: Path, long_seconds: float, window: Any
) -> None:
    monkeypatch.setattr(inputs, "LONG_SECONDS", long_seconds)
    files = [write_wav(tmp_path / "audio" / f"{n}.wav", 0.5 + n, seed=n) for n in range(2)]
    found = embed(model, [tmp_path / "audio"], tmp_path / "store", samples=K, window=window, progress=False)
    assert found.embeddings.shape == (2 if window is None else 4, 2 * model.embedding_dim)
    rows = files if window is None else files[:1]
    for part, expected in enumerate(model.encode(rows, samples=K)):
        half = slice(part * model.embedding_dim, (part + 1) * model.embedding_dim)
        np.testing.assert_allclose(found.embeddings[: len(rows), half], expected, atol=1e-4)


def test_the_commands_take_samples(model: BYOLA, write_wav: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "model")
    for label in ("high", "low"):
        for number in range(6):
            write_wav(tmp_path / "set" / label / f"{number}.wav", 0.3, seed=number)
    store = [str(tmp_path / "model"), str(tmp_path / "set"), "--out", str(tmp_path / "store")]
    run(embed_command, *store, "--samples", "2")
    assert read_store(tmp_path / "store").provenance["settings"]["samples"] == 2
    with pytest.raises(UsageError, match="samples"):  # of the means alone: another store
        run(embed_command, *store)

    task = ["--task", "folder", "--data", str(tmp_path / "set"), "--no-cache"]
    assert "mean of 3 weight samples" in run(evaluate_command, str(tmp_path / "model"), *task, "--samples", "3")
    small_model().save_pretrained(tmp_path / "plain")
    for name, reason in ((str(tmp_path / "plain"), "no deviation"), ("logmel", "no variational weights")):
        with pytest.raises(UsageError, match=reason):
            run(evaluate_command, name, *task, "--samples", "3")


def run(command: click.Command, *arguments: str) -> str:
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output
