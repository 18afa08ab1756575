"""Learning rates: up in a line, down as half a cosine, later for an encoder that is frozen at first."""

from __future__ import annotations

import math

import pytest
import torch

from downstream.protocols.finetune import FinetuneProtocol
from downstream.protocols.finetuning.network import Classifier
from downstream.protocols.finetuning.schedule import build_optimizer, learning_rate, set_learning_rate
from tests.downstream.protocols.finetuning.tones import tiny_model


def test_the_rate_rises_in_a_line_and_falls_as_half_a_cosine() -> None:
    settings = FinetuneProtocol(lr=0.2, epochs=10, warmup_epochs=2)
    assert learning_rate(settings, 0) == 0
    assert learning_rate(settings, 1) == pytest.approx(0.5 * 0.2 * 0.5 * (1 + math.cos(math.pi / 10)))
    assert learning_rate(settings, 5) == pytest.approx(0.1)
    assert learning_rate(settings, 10) == pytest.approx(0)
    falling = [learning_rate(settings, 2 + step / 10) for step in range(81)]
    assert falling == sorted(falling, reverse=True)
    assert learning_rate(FinetuneProtocol(lr=0.2, warmup_epochs=0), 0) == pytest.approx(0.2)


def test_a_frozen_encoder_begins_later_and_warms_up_by_itself() -> None:
    settings = FinetuneProtocol(lr=0.1, epochs=10, warmup_epochs=2, freeze_epochs=3)
    optimizer = build_optimizer(settings, Classifier(tiny_model(), 3, 0.0, 0))

    def rates(epoch: float) -> dict[str, float]:
        set_learning_rate(optimizer, settings, epoch)
        return {group["part"]: group["lr"] for group in optimizer.param_groups}

    assert rates(2.9)["encoder"] == 0 and rates(2.9)["head"] > 0.07
    assert rates(4.0)["encoder"] == pytest.approx(rates(4.0)["head"] / 2)
    assert rates(6.0)["encoder"] == rates(6.0)["head"]


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_every_parameter_is_trained_once_and_only_weights_are_decayed(name: str, kind: type) -> None:
    network = Classifier(tiny_model(), 3, 0.0, 0)
    optimizer = build_optimizer(FinetuneProtocol(optimizer=name, weight_decay=0.3), network)  # type: ignore[arg-type]
    assert isinstance(optimizer, kind)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert (
        sum(len(group["params"]) for group in optimizer.param_groups) == len(decay) == len(list(network.parameters()))
    )
    assert all(decay[id(p)] == (0.3 if p.ndim > 1 else 0.0) for p in network.parameters())
