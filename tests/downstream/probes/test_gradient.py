"""Heads trained by gradient against a plain loop, alone and among others."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from downstream.metrics import METRICS
from downstream.probes import FittedHeads, HeadSpec, fit_heads
from downstream.probes.heads import Heads
from tests.downstream.probes.made import blobs, several_labels
from tests.downstream.probes.test_heads import module_of

HOW: dict[str, Any] = {"batch_size": 32, "max_epochs": 12, "patience": 4, "progress": False}


def data(multi_label: bool = False, dim: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    train, targets = blobs(150, dim)
    valid, of_valid = blobs(60, dim, seed=1)
    if multi_label:
        targets, of_valid = several_labels(150, 4), several_labels(60, 4, seed=4)
    return train, targets, valid, of_valid


def plain(
    spec: HeadSpec, train: np.ndarray, targets: np.ndarray, valid: np.ndarray, of_valid: np.ndarray, multi_label: bool
) -> tuple[nn.Module, float, int]:
    """The best module of a textbook loop, its score, and its epoch."""
    module = module_of(Heads(train.shape[1], targets.shape[1], [spec.seed], spec.hidden_layers, spec.hidden_dim), 0)
    optimizer = torch.optim.Adam(module.parameters(), lr=spec.lr, weight_decay=spec.weight_decay)
    generator = torch.Generator().manual_seed(spec.seed)
    metric = METRICS["macro_map" if multi_label else "accuracy"]
    best, score, at = copy.deepcopy(module), -1.0, 0
    for epoch in range(1, HOW["max_epochs"] + 1):
        module.train()
        for index in torch.randperm(len(train), generator=generator).split(HOW["batch_size"]):
            logits, wanted = module(torch.from_numpy(train)[index]), torch.from_numpy(targets)[index].float()
            loss = (
                binary_cross_entropy_with_logits(logits, wanted)
                if multi_label
                else cross_entropy(logits, wanted.argmax(1))
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            scores = module.eval()(torch.from_numpy(valid)).numpy()
        value = float(metric(scores, of_valid, (), np.ones((1, len(valid))))[0])
        if value > score:
            best, score, at = copy.deepcopy(module), value, epoch
        if epoch - at >= HOW["patience"]:
            break
    return best, score, at


def fit(
    specs: list[HeadSpec], train: Any, targets: Any, valid: Any, of_valid: Any, multi_label: bool = False
) -> FittedHeads:
    how = {**HOW, "multi_label": multi_label}
    return fit_heads(train, targets, valid, of_valid, specs, **how)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("hidden_layers", [0, 1, 2])
def test_it_is_a_plain_adam_loop(hidden_layers: int, multi_label: bool) -> None:
    clips = data(multi_label)
    specs = [HeadSpec(lr, hidden_layers, 16, seed=seed, weight_decay=1e-3) for lr, seed in ((1e-2, 3), (1e-3, 4))]
    fitted = fit(specs, *clips, multi_label=multi_label)
    scores = fitted.scores(clips[2])
    assert scores.shape == (2, 60, 4) and scores.dtype == np.float32
    for head, spec in enumerate(specs):
        module, score, epoch = plain(spec, *clips, multi_label)
        assert fitted.epochs[head] == epoch
        assert fitted.valid_scores[head] == pytest.approx(score)
        with torch.no_grad():
            expected = module.eval()(torch.from_numpy(clips[2])).numpy()
        np.testing.assert_allclose(scores[head], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("hidden_layers", [0, 1])
def test_a_head_alone_is_what_it_is_among_others(hidden_layers: int) -> None:
    clips = data()
    specs = [
        HeadSpec(lr, hidden_layers, 16, dropout, seed)
        for lr, dropout, seed in ((1e-1, 0.1, 0), (1e-2, 0.0, 1), (1e-3, 0.3, 1), (1e-5, 0.2, 2))
    ]
    together = fit(specs, *clips)
    assert len(set(together.epochs)) > 1  # they do not all stop together
    for head, spec in enumerate(specs):
        alone = fit([spec], *clips)
        assert alone.epochs[0] == together.epochs[head]
        np.testing.assert_allclose(alone.scores(clips[2])[0], together.scores(clips[2])[head], rtol=1e-3, atol=1e-4)


def test_the_best_weights_are_those_scored() -> None:
    clips = data()
    fitted = fit([HeadSpec(3e-1, seed=seed) for seed in range(3)], *clips)
    for scores, value in zip(fitted.scores(clips[2]), fitted.valid_scores, strict=True):
        assert (scores.argmax(1) == clips[3].argmax(1)).mean() == pytest.approx(value)


def test_a_last_batch_of_one_clip_and_a_head_that_diverges() -> None:
    train, targets, valid, of_valid = data()
    fitted = fit([HeadSpec(1e-2, 1, 8), HeadSpec(1e30, 1, 8)], train[:33], targets[:33], valid, of_valid)
    assert np.isfinite(fitted.scores(valid)[0]).all() and fitted.valid_scores[0] > 0.25
    never = fit([HeadSpec(1e38)], train, targets, valid, of_valid)
    assert (never.epochs[0], never.valid_scores[0]) == (0, -np.inf)


def test_heads_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        fit([HeadSpec(1e-3), HeadSpec(1e-3, 1)], *data())


@pytest.mark.gpu
def test_the_gpu_trains_the_same() -> None:
    clips = data()
    specs = [HeadSpec(1e-2, 1, 32, seed=1), HeadSpec(1e-3, 1, 32, seed=2)]
    here, there = fit(specs, *clips), fit_heads(*clips, specs, device="cuda", **HOW)
    np.testing.assert_allclose(here.scores(clips[2]), there.scores(clips[2]), atol=0.05)
