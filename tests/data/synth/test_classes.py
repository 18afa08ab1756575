"""Labelled sounds: repeatable, one folder a class, and told apart by more than their level."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from byol_a.data.synth import classes, source
from byol_a.data.synth.classes import CLASSES, render_class, write_labelled_set
from byol_a.data.synth.effects import row_power
from byol_a.data.synth.hashing import child_keys, root_keys, stream
from byol_a.errors import UsageError


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_renders_in_range_and_repeatably(name: str) -> None:
    waves = render_class(name, seed=1, indices=torch.arange(5), seconds=0.5)
    assert waves.shape == (5, 8000)
    assert waves.isfinite().all()
    peaks = waves.abs().amax(1)
    assert peaks.max() <= 1
    assert peaks.min() > 1e-2
    again = render_class(name, seed=1, indices=torch.tensor([3]), seconds=0.5)
    torch.testing.assert_close(again[0], waves[3], rtol=0, atol=1e-6)
    assert not torch.equal(waves, render_class(name, seed=2, indices=torch.arange(5), seconds=0.5))


@pytest.mark.parametrize("name", CLASSES)
def test_a_labelled_sound_is_never_background_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before layers are brought to their level, the loudest one is sound and not the rounding of silence."""
    powers: list[torch.Tensor] = []

    def noted(layer: torch.Tensor) -> torch.Tensor:
        powers.append(row_power(layer).sqrt()[:, 0])
        return row_power(layer)

    monkeypatch.setattr(source, "row_power", noted)
    keys = root_keys(3, torch.arange(300))
    layers = classes._class_layers(name, child_keys(keys, stream(f"sound of {name}")))
    renderer = source.Renderer(24000, 16000)
    wave = renderer.render(classes._RECORDING_TABLE.draw(keys, torch.zeros_like(keys)), layers, keys)
    assert torch.cat(powers).min() > 10
    torch.testing.assert_close(wave.abs().amax(1), torch.ones(300))


def test_classes_are_a_dozen_and_differ() -> None:
    assert len(CLASSES) == len(set(CLASSES)) == 12
    centroids = {}
    for name in ("engine", "insect"):
        power = torch.fft.rfft(render_class(name, 0, torch.arange(24))).abs().square().mean(0)
        centroids[name] = (power * torch.linspace(0, 8000, len(power))).sum() / power.sum()
    assert centroids["insect"] > 2 * centroids["engine"]


def test_labelled_set_is_one_folder_a_class(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    paths = write_labelled_set(tmp_path / "set", per_class=2, seed=0, seconds=0.25, sample_rate=8000)
    assert sorted(paths) == sorted((tmp_path / "set").rglob("*.wav"))
    assert len(paths) == 2 * len(CLASSES)
    assert {path.parent.name for path in paths} == set(CLASSES)
    assert {path.name for path in paths} == {"000.wav", "001.wav"}
    wave, rate = soundfile.read(tmp_path / "set" / "bell" / "001.wav", dtype="float32")
    assert rate == 8000
    expected = render_class("bell", 0, torch.tensor([1]), sample_rate=8000, seconds=0.25)[0]
    torch.testing.assert_close(torch.from_numpy(wave), expected, rtol=0, atol=1e-4)


def test_unknown_classes_and_empty_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bowed"):
        render_class("trombone", 0, torch.arange(1))
    with pytest.raises(UsageError, match="longer"):
        render_class("bell", 0, torch.arange(1), seconds=0.0)
    with pytest.raises(UsageError, match="at least one"):
        write_labelled_set(tmp_path, per_class=0, seed=0)
