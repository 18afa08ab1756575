"""From a name to what embeds, with the controls beside it; nothing that would be ignored is accepted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from byol_a import BYOLA, FrontendConfig, NormStats, UsageError
from byol_a.errors import ByolaError
from downstream.entrants import Controls, Entrant, entrants_for
from downstream.features import CustomFeatures, EmbeddingCache, LogMelStatistics, ModelFeatures
from downstream.tasks.base import Clip


@pytest.fixture
def model(tmp_path: Path) -> str:
    folder = tmp_path / "model"
    BYOLA("AudioNTT2020", {"embedding_dim": 32}, FrontendConfig(), NormStats(-7.0, 4.0)).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def clips(tmp_path: Path, write_wav: Callable[..., Path]) -> list[Clip]:
    return [Clip(write_wav(tmp_path / f"{n}.wav", 0.4, seed=n), ("a",), "train") for n in range(3)]


@pytest.fixture
def custom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "somebodys.py").write_text(
        "class E:\n name = 'Theirs'\n def encode(self, w, s): return [[len(x)] for x in w]\n"
    )
    return "somebodys:E"


def entrants(name: str, controls: Controls = Controls(), clips: list[Clip] | None = None, **options) -> list[Entrant]:  # noqa: B008
    return entrants_for(name, controls, clips or [], 2, "cpu", **options)


def test_a_model_with_all_controls(model: str) -> None:
    own, first, second, logmel = entrants(model, Controls(True, True, 2))
    assert own.title == own.features.name == model and own.control is None
    assert [(e.title, e.control, e.weight_seed) for e in (first, second)] == [
        ("random weights", "random", 0),
        ("random weights", "random", 1),
    ]
    assert first.features.name == "random:AudioNTT2020(embedding_dim=32)"
    assert len({entrant.features.fingerprint() for entrant in (own, first, second, logmel)}) == 4
    assert isinstance(logmel.features, LogMelStatistics) and logmel.control == "logmel"


def test_random_controls_of_different_networks_differ_in_name(tmp_path: Path) -> None:
    names = []
    for options in ({}, {"embedding_dim": 512}, {"embedding_dim": 32}):
        folder = tmp_path / f"model{len(names)}"
        BYOLA("AudioNTT2020", options, FrontendConfig(), NormStats(-7.0, 4.0)).save_pretrained(folder)
        names.append(entrants(str(folder), Controls(random=True))[1].features.name)
    assert names == ["random:AudioNTT2020", "random:AudioNTT2020", "random:AudioNTT2020(embedding_dim=32)"]


def test_another_reading_is_that_of_the_controls_too_and_said(model: str) -> None:
    own, control = entrants(model, Controls(random=True), pooling="mean", layer=1)
    for entrant in (own, control):
        assert isinstance(entrant.features, ModelFeatures)
        assert (entrant.features.pooling, entrant.features.layer) == ("mean", 1)
    assert (own.title, control.title) == (f"{model}, layer 1, mean pooling", "random weights, layer 1, mean pooling")
    assert entrants(model, layer="all")[0].title == f"{model}, all layers"


def test_random_weights_are_normalised_by_the_tasks_audio(clips: list[Clip], tmp_path: Path) -> None:
    found = entrants("random:AudioNTT2020", Controls(random_seeds=2), clips, cache=EmbeddingCache(tmp_path / "cache"))
    assert [entrant.control for entrant in found] == ["random"] * 2
    normalised = [entrant.features.model.normalization for entrant in found]  # type: ignore[attr-defined]
    assert normalised[0] == normalised[1] != NormStats(0.0, 1.0)
    (other,) = entrants("random:AudioNTT2020", clips=clips[:1])
    assert other.features.model.normalization != normalised[0]  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="did you mean 'AudioNTT202"):
        entrants("random:AudioNTT2021", clips=[])


def test_random_weights_are_normalised_without_the_test_part(clips: list[Clip]) -> None:
    def normalised(parts: str, these: list[Clip] = clips) -> NormStats:
        divided = [replace(clip, part=part) for clip, part in zip(these, parts.split(), strict=True)]
        return entrants("random:AudioNTT2020", clips=divided)[0].features.model.normalization  # type: ignore[attr-defined]

    assert normalised("train valid test") == normalised("train train", clips[:2]) != normalised("train train train")
    assert normalised("1 2 test") == normalised("train train train")  # of folds each one is trained on, too
    with pytest.raises(ByolaError, match="no clips to take normalisation statistics of"):
        normalised("test test test")


def test_somebodys_encoder(custom: str, tmp_path: Path) -> None:
    own, logmel = entrants(custom, Controls(logmel=True))
    assert own.title == own.features.name == "Theirs" and isinstance(own.features, CustomFeatures)
    assert logmel.control == "logmel"
    (tmp_path / custom).mkdir()  # a folder of that very name is a model's
    with pytest.raises(UsageError, match="not a model folder"):
        entrants(custom)


@pytest.mark.parametrize(
    ("name", "controls", "options", "words"),
    [
        ("logmel", Controls(random=True), {}, "no weights"),
        ("logmel", Controls(logmel=True), {}, "leave out --logmel-control"),
        ("logmel", Controls(), {"pooling": "mean"}, "leave out --pooling"),
        ("logmel", Controls(), {"layer": 0}, "leave out --pooling and --layer"),
        ("somebodys:E", Controls(random=True), {}, "no --random-control for it"),
        ("somebodys:E", Controls(), {"layer": "all"}, "leave out --layer"),
        ("somebodys:E", Controls(), {"pooling": "mean"}, "only encode"),
        ("random:AudioNTT2020", Controls(random=True), {}, "random weights already"),
        ("somewhere", Controls(random_seeds=2), {}, "--random-seeds counts"),
        ("somewhere", Controls(), {}, "no model folder somewhere"),
    ],
)
def test_what_makes_no_sense_is_refused(
    custom: str, name: str, controls: Controls, options: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        entrants(name, controls, **options)
