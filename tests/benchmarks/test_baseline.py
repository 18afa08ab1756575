"""The straightforward implementation that the benchmarks compare with computes what ours does, from the same draws."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from byol_a.augment import AugmentConfig, MixupConfig, Views
from byol_a.config import build
from byol_a.data.crops import from_int16
from byol_a.errors import UsageError
from byol_a.frontend import LogMel
from byol_a.methods.byol import BYOL
from byol_a.normalize import NormStats, post_norm
from byol_a.recipes import read_recipe
from byol_a.training.clip_list import gather_clips
from byol_a.training.config import PretrainConfig
from byol_a.training.distributed import Processes
from byol_a.training.trainer import Trainer
from tests.benchmarks import programs  # noqa: F401

from baseline import Baseline, refuse_others  # isort: skip
from baseline_views import ClipViews, Draw, augment, canvas_size, draw  # isort: skip

CPU = torch.device("cpu")
STATS = NormStats(-7.0, 4.5)


def small_config(**changes: dict[str, Any]) -> PretrainConfig:
    values: dict[str, Any] = {
        "encoder": {"name": "AudioNTT2022", "options": {"hidden_dim": 8, "channels": 4}},
        "frontend": {"n_mels": 16, "hop_length": 320},
        "augment": {"mixup": {"memory": 5}},
        "method": {"projector": {"hidden": 8, "out": 6}, "predictor": {"hidden": 8}, "tau": 0.9},
        "optimizer": {"lr": 1e-2},
        "data": {"crop_seconds": 0.5, "workers": 0},
        "training": {"batch_size": 4, "precision": "float32", "fast": "off"},
    }
    for section, fields in changes.items():
        values[section] = {**values.get(section, {}), **fields}
    return build(PretrainConfig, values, "small")


@pytest.fixture
def sounds(tmp_path: Path, write_wav: Callable[..., Path]) -> Path:
    for number, seconds in enumerate((0.3, 0.8, 1.1)):
        write_wav(tmp_path / "sounds" / f"{number}.wav", seconds=seconds, seed=number)
    return tmp_path / "sounds"


def dataset(sounds: Path, config: PretrainConfig) -> ClipViews:
    clips, _ = gather_clips([sounds], config.data, Processes(0, 1, CPU))
    return ClipViews(clips.open(config.frontend.sample_rate), config, STATS)


def without_dropout(*modules: nn.Module) -> None:
    for module in modules:
        for part in module.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0


def pair(config: PretrainConfig, sounds: Path) -> tuple[Trainer, BYOL, Baseline]:
    """Ours and the baseline from the same weights in float64, without dropout, whose masks they draw differently."""
    trainer = Trainer(config, STATS, Processes(0, 1, CPU), total_steps=100)
    method = trainer.method.double()
    assert isinstance(method, BYOL)
    baseline = Baseline(config, dataset(sounds, config).clips, STATS, CPU)
    baseline.online.load_state_dict(method.online.state_dict())
    baseline.target.load_state_dict(method.target.state_dict())
    baseline.predictor.load_state_dict(method.predictor.head.state_dict())  # type: ignore[union-attr, arg-type]
    for module in (baseline.online, baseline.target, baseline.predictor):
        module.double()
    without_dropout(method, baseline.online, baseline.target)
    return trainer, method, baseline


def test_steps_equal_ours(sounds: Path) -> None:
    config = small_config()
    trainer, method, baseline = pair(config, sounds)
    torch.manual_seed(0)
    for _ in range(3):
        views = torch.randn(2, 4, 1, 16, 26, dtype=torch.float64)
        assert torch.allclose(baseline.update(views), trainer.update([views]).loss, rtol=1e-8, atol=0)
    for ours, theirs in (
        (method.online, baseline.online),
        (method.target, baseline.target),
        (method.predictor.head, baseline.predictor),  # type: ignore[union-attr]
    ):
        expected = dict(ours.named_parameters())  # type: ignore[operator, union-attr]
        found = dict(theirs.named_parameters())
        assert found.keys() == expected.keys()
        for name, value in found.items():
            # A bias before a norm has a gradient of rounding errors alone, of which Adam makes a step nearly 1e-7 long.
            torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-6, msg=name)


def test_the_loss_falls(sounds: Path) -> None:
    _, _, baseline = pair(small_config(), sounds)
    torch.manual_seed(0)
    views = torch.randn(2, 4, 1, 16, 26, dtype=torch.float64)
    losses = [float(baseline.update(views)) for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]


def test_marks_tell_the_order_of_a_step(sounds: Path) -> None:
    _, _, baseline = pair(small_config(), sounds)
    heard: list[str] = []
    baseline.update(torch.randn(2, 4, 1, 16, 26, dtype=torch.float64), heard.append)
    assert heard == ["forward online", "forward target", "forward online", "backward", "optimiser", "EMA", "rest"]


@pytest.mark.parametrize("seed", range(5))
def test_views_equal_ours(sounds: Path, seed: int) -> None:
    torch.manual_seed(seed)
    x, remembered = (torch.randn(4, 16, 26, dtype=torch.float64) for _ in range(2))
    config = AugmentConfig(mixup=MixupConfig(max_ratio=0.4, memory=7))
    views = Views(config, 16, 26).double()
    views.mixup.push(remembered)  # type: ignore[union-attr]
    params = views.draw(4, torch.Generator().manual_seed(seed))

    def drawn(view: int, clip: int) -> Draw:
        parts = (params.mixup, params.random_resize_crop, params.fader)
        values = {name: value[view, clip].item() for part in parts for name, value in vars(part).items()}
        return Draw(**values)

    expected = views.apply(x, params)
    made = torch.stack(
        [
            torch.stack([augment(x[clip], drawn(view, clip), list(remembered), config) for clip in range(4)])
            for view in range(2)
        ]
    )
    # The ratio is drawn in float32, which ours keeps.
    torch.testing.assert_close(post_norm(made.flatten(0, 1)).view(made.shape), expected, rtol=0, atol=1e-6)
    baseline = Baseline(small_config(), dataset(sounds, small_config()).clips, STATS, CPU)
    torch.testing.assert_close(baseline.post_norm((made[0], made[1]))[:, :, 0], expected, rtol=0, atol=1e-6)


def test_draws_follow_the_papers() -> None:
    random.seed(0)
    config = AugmentConfig()
    draws = [draw(config, 64, 96) for _ in range(2000)]
    canvas = canvas_size(config, 64, 96)
    assert canvas == (64, 144)
    assert all(0 <= one.top <= 64 - one.height and 0 <= one.left <= 144 - one.width for one in draws)
    assert {one.height for one in draws} == set(range(38, 65)) and {one.width for one in draws} >= set(range(58, 143))
    # A height of 0.6 to 1.5 is cut at the canvas's: more than half of the crops are of all mel bins.
    assert 0.5 < sum(one.height == 64 for one in draws) / len(draws) < 0.62
    assert 0.19 < max(one.ratio for one in draws) <= 0.2 and min(one.ratio for one in draws) >= 0
    ends = [end for one in draws for end in (one.start, one.end)]
    assert -1 <= min(ends) < -0.99 and 0.99 < max(ends) <= 1


def test_items_are_of_crops_and_the_last_clips(sounds: Path) -> None:
    config = small_config()
    data = dataset(sounds, config)
    made = [data[number % 3] for number in range(8)]
    assert all(view.shape == (16, 26) for views in made for view in views)
    assert not torch.equal(*made[0])
    assert len(data.memory) == 5
    waves: list[Tensor] = []
    data.wave, wave = lambda index: waves.append(wave(index)) or waves[-1], data.wave  # type: ignore[method-assign, func-returns-value]
    data[1]
    expected = (LogMel(config.frontend)(waves[0]) - STATS.mean) / STATS.std
    torch.testing.assert_close(data.memory[-1], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("pad", ["end", "both"])
def test_short_clips_are_padded(sounds: Path, pad: str) -> None:
    data = dataset(sounds, small_config(data={"pad": pad}))
    whole = from_int16(torch.from_numpy(data.clips.read(0, 0, 4800)))
    before = {"end": 0, "both": 1600}[pad]
    found = data.wave(0)
    assert found.shape == (8000,) and torch.equal(found[before : before + 4800], whole)
    assert not found[:before].any() and not found[before + 4800 :].any()


def test_other_recipes_are_refused() -> None:
    refuse_others(build(PretrainConfig, read_recipe("pretrain", "byola_v2"), "byola_v2"))
    for recipe in ("byola_v1", "tribyol", "stiefel", "mhe", "layer_norm", "cssl"):
        with pytest.raises(UsageError, match="BYOL-A v2"):
            refuse_others(build(PretrainConfig, read_recipe("pretrain", recipe), recipe))
