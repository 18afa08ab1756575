"""Measures of a method on held-out clips."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from byol_a.methods.monitor import collapse_meter
from byol_a.normalize import NormStats
from byol_a.training.config import PretrainConfig
from byol_a.training.distributed import Processes
from byol_a.training.trainer import Trainer
from downstream.compare.measures import measure


def test_measures_are_of_the_evaluation_mode_and_the_same_each_time(config: PretrainConfig) -> None:
    config = replace(config, optimizer=config.optimizer.in_steps(1.0))
    trainer = Trainer(config, NormStats(-7.0, 4.5), Processes(0, 1, torch.device("cpu")), 10)
    generator = torch.Generator().manual_seed(0)
    crops = torch.randint(-9000, 9000, (300, config.crop_samples), generator=generator, dtype=torch.int16)
    untrained = measure(trainer, crops[:20])
    assert untrained.collapse is None and untrained.effective_rank >= 1 and not untrained.is_collapsed

    trainer.step = 1
    before = {name: value.clone() for name, value in trainer.method.state_dict().items()}
    first, second = measure(trainer, crops), measure(trainer, crops)  # two batches
    assert first == second and all(math.isfinite(value) for value in vars(first).values())
    assert all(torch.equal(value, before[name]) for name, value in trainer.method.state_dict().items())
    assert first.uniformity < 0 < first.alignment < 4

    with torch.no_grad():  # projections that are the same whatever comes in
        trainer.method.online.projector[-1].weight.zero_()
        trainer.method.online.projector[-1].bias.fill_(1.0)
    flat = measure(trainer, crops[:20])
    assert flat.is_collapsed and flat.collapse == pytest.approx(0, abs=1e-6)
    assert flat.alignment == pytest.approx(0, abs=1e-6) and flat.uniformity == pytest.approx(0, abs=1e-6)
    assert collapse_meter(torch.eye(8)) > 0.8  # what healthy ones look like
