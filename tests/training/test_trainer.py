"""One optimiser step: accumulation, clipping, schedules, and a snapshot that continues bit for bit."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch

from byol_a.config import apply_overrides, build
from byol_a.normalize import NormStats
from byol_a.training.config import PretrainConfig
from byol_a.training.distributed import Processes
from byol_a.training.sources import Batch
from byol_a.training.trainer import Trainer

from .small import values

STATS = NormStats(-7.0, 4.0)
ALONE = Processes(0, 1, torch.device("cpu"))


def trainer(*overrides: str, stats: NormStats | None = STATS) -> Trainer:
    config = build(PretrainConfig, apply_overrides(values(), overrides), "test")
    return Trainer(config, stats, ALONE, total_steps=10)


def batch(step: int, clips: slice = slice(0, 8)) -> Batch:
    wave = torch.randn(8, 8000, generator=torch.Generator().manual_seed(step)) * 0.1
    return Batch(wave[clips], clips)


def weights(one: Trainer) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in one.method.parameters()]


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("normalization.kind=running",),
        ("training.precision=bf16",),
        ("method=tribyol",),  # which target's turn it is
        ("method=byov",),
        ("method.predictor=newton_schulz",),  # its average over steps
        ("method.regularizers={uniformity: {}, mhe: {neurons: 8}}",),  # which neurons are looked at
        ("method.loss={name: ccsl, warmup_steps: 4}",),  # that the warm-up ends at step 4 of the whole run
    ],
)
def test_a_snapshot_continues_bit_for_bit(overrides: tuple[str, ...]) -> None:
    stats = None if "normalization.kind=running" in overrides else STATS
    whole = trainer(*overrides, stats=stats)
    for step in range(3):
        whole.train_step([batch(step)])
    file = io.BytesIO()
    torch.save(whole.snapshot(), file)
    expected = [whole.train_step([batch(step)]).loss.item() for step in range(3, 6)]

    torch.manual_seed(999)
    file.seek(0)
    again = trainer(*overrides, stats=stats)
    again.restore(torch.load(file, weights_only=True))
    assert again.step == 3
    assert [again.train_step([batch(step)]).loss.item() for step in range(3, 6)] == expected
    for a, b in zip(weights(whole), weights(again), strict=True):
        assert torch.equal(a, b)


def test_accumulated_parts_see_the_views_of_the_whole_batch() -> None:
    one = trainer("augment.post_norm=false", "augment.mixup=null")
    params = one.pipeline.draw(8, 42, 0, torch.device("cpu"))
    whole = one.pipeline(batch(0).wave, params)
    parts = [one.pipeline(batch(0, part).wave, params[part]) for part in (slice(0, 4), slice(4, 8))]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)


def test_accumulation_averages_gradients() -> None:
    """One SGD step over two parts moves by the mean of the two parts' own gradients."""
    overrides = ("optimizer.name=sgd", "optimizer.momentum=0", "augment.mixup=null", "training.accumulate=2")
    parts = [batch(0, slice(0, 4)), batch(0, slice(4, 8))]
    both = trainer(*overrides)
    before = weights(both)
    state = torch.get_rng_state()
    both.train_step(parts)

    one = trainer(*overrides)
    torch.set_rng_state(state)
    params = one.pipeline.draw(8, one.config.training.seed, 0, torch.device("cpu"))
    for part in parts:
        one.method(one.pipeline(part.wave, params[part.clips])).loss.div(2).backward()
    for start, end, parameter in zip(before, weights(both), one.method.parameters(), strict=True):
        if parameter.grad is not None:
            torch.testing.assert_close(end, start - 1e-3 * parameter.grad, rtol=1e-4, atol=1e-7)


def test_clipping_bounds_the_step() -> None:
    overrides = ("optimizer.name=sgd", "optimizer.momentum=0", "optimizer.lr=1")
    clipped = trainer(*overrides, "optimizer.clip_norm=1e-3")
    online = [*clipped.method.online.parameters(), *clipped.method.predictor.parameters()]
    before = [parameter.detach().clone() for parameter in online]
    clipped.train_step([batch(0)])
    moved = torch.cat([(a - b.detach()).flatten() for a, b in zip(before, online, strict=True)]).norm()
    assert moved.item() == pytest.approx(1e-3, rel=1e-2)


def test_metrics_name_everything_worth_watching() -> None:
    one = trainer("optimizer.schedule=cosine", "method.tau_schedule=cosine")
    output = one.train_step([batch(0)])
    metrics = one.metrics(output)
    assert set(metrics) == {"loss", "collapse", "effective_rank", "alignment", "uniformity", "lr", "tau"}
    assert metrics["lr"] == 1e-3
    assert metrics["tau"] == 0.99
    assert 0 < metrics["loss"] < 8


def test_a_methods_own_terms_are_metrics_too() -> None:
    one = trainer("method.regularizers={uniformity: {}, mhe: {}}", "method.loss=ccsl")
    output = one.train_step([batch(0)])
    metrics = one.metrics(output)
    assert {"loss_pairs", "loss_uniformity", "loss_mhe"} <= set(metrics)
    parts = metrics["loss_pairs"] + metrics["loss_uniformity"] + metrics["loss_mhe"]
    assert metrics["loss"] == pytest.approx(parts, rel=1e-5)


def test_terms_are_means_over_the_parts_as_the_loss_is() -> None:
    one = trainer("training.accumulate=2", "method.regularizers={uniformity: {}}")
    seen = []
    one.method.register_forward_hook(lambda *call: seen.append(call[-1].terms["loss_uniformity"].item()))
    output = one.train_step([batch(0, slice(0, 4)), batch(0, slice(4, 8))])
    assert seen[0] != seen[1]
    assert output.terms["loss_uniformity"].item() == pytest.approx(sum(seen) / 2)


def test_a_method_of_one_view_has_no_alignment() -> None:
    one = trainer()
    output = one.train_step([batch(0)])
    metrics = one.metrics(output._replace(projections=output.projections[:1]))
    assert set(metrics) == {"loss", "collapse", "effective_rank", "uniformity", "lr", "tau"}


def test_a_checkpoint_of_an_earlier_version_continues() -> None:
    one, again = trainer(), trainer()
    one.train_step([batch(0)])
    snapshot = copy.deepcopy(one.snapshot())
    snapshot["method"] = {name.replace("predictor.head.", "predictor."): v for name, v in snapshot["method"].items()}
    expected = one.train_step([batch(1)]).loss.item()
    again.restore(snapshot)
    assert again.train_step([batch(1)]).loss.item() == expected


def test_a_method_gets_as_many_views_as_it_compares() -> None:
    seen = []
    one = trainer("method=tribyol", "training.accumulate=2")
    one.method.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].shape[:2]))
    one.train_step([batch(0, slice(0, 4)), batch(0, slice(4, 8))])
    assert seen == [(3, 4), (3, 4)]


def test_same_seed_same_networks_and_another_seed_others() -> None:
    for a, b in zip(weights(trainer()), weights(trainer()), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(weights(trainer())[0], weights(trainer("training.seed=1"))[0])


def test_the_state_holds_what_the_design_says() -> None:
    snapshot: dict[str, Any] = copy.deepcopy(trainer().snapshot())
    assert {"step", "method", "optimizer", "processes", "stats"} <= set(snapshot)
    assert any("memory" in name for name in snapshot["processes"][0]["pipeline"])


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_step_on_the_gpu(precision: str) -> None:
    config = build(PretrainConfig, apply_overrides(values(), [f"training.precision={precision}"]), "test")
    device = torch.device("cuda")
    one = Trainer(config, STATS, Processes(0, 1, device), total_steps=10)
    for step in range(3):
        part = batch(step)
        output = one.train_step([Batch(part.wave.to(device), part.clips)])
        assert torch.isfinite(output.loss)
