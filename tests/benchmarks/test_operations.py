"""Operations and bytes counted from the layers' shapes, against torch's own counter and by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from byol_a.config import apply_overrides, build
from byol_a.recipes import read_recipe
from byol_a.training.config import PretrainConfig
from tests.benchmarks import programs  # noqa: F401
from tests.benchmarks.test_baseline import small_config

import operations  # isort: skip
from operations import Product, Work  # isort: skip


def config_of(recipe: str, *overrides: str) -> PretrainConfig:
    return build(PretrainConfig, apply_overrides(read_recipe("pretrain", recipe), list(overrides)), recipe)


def test_products_equal_torchs_count() -> None:
    network = nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(4, 6, 3, padding=1), nn.Flatten(), nn.Linear(6 * 4 * 5, 7), nn.BatchNorm1d(7)),
    )
    found = operations.products(network.to("meta"), shape=(3, 1, 8, 10))
    with FlopCounterMode(display=False) as forward:
        out = network(torch.empty(3, 1, 8, 10, device="meta"))
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    assert operations.forward(found, 2, 4).flops == 2 * forward.get_total_flops()
    assert operations.backward(found, 2, 4).flops == 2 * backward.get_total_flops()
    assert not any(module._forward_hooks for module in network.modules())


def test_bytes_of_a_chain_by_hand() -> None:
    found = operations.products(nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)).to("meta"), shape=(2, 5))
    assert found == [Product(2 * 35 * 2, 10, 35, 14), Product(2 * 21 * 2, 14, 21, 6)]
    assert operations.forward(found, 3, 2).bytes == 3 * 2 * (10 + 14 + 14 + 6) + 4 * (35 + 21)
    # Gradients of both results in, both inputs in again, the second's gradient out; one weight in, two gradients out.
    assert operations.backward(found, 3, 2).bytes == 3 * 2 * (14 + 6 + 10 + 14 + 14) + 4 * (21 + 35 + 21)


def test_a_convolution_of_one_channel_writes_what_is_left_of_it() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1))
    first, second = operations.products(network.to("meta"), shape=(1, 1, 8, 8))
    assert first.outputs == second.inputs == 4 * 4 * 4 and first.flops == 2 * 9 * 4 * 64


def test_the_step_of_byol_a_v2() -> None:
    config = config_of("byola_v2", "training.batch_size=128", "training.precision=bf16")
    work = operations.step_work(config, 96)
    encoder = 9 * 64 * 64 * 96 + 9 * 64 * 64 * 32 * 48 + 24 * (1024 * 2048 + 2048 * 2048)
    projector, predictor = 3072 * 4096 + 4096 * 256, 256 * 4096 + 4096 * 256
    assert work["forward target"].flops == 2 * 256 * (encoder + projector)
    assert work["forward online"].flops == 2 * 256 * (encoder + projector + predictor)
    first = 2 * 256 * 9 * 64 * 64 * 96
    assert work["backward"].flops == 2 * work["forward online"].flops - first
    norms = 2 * 4096
    online = 6_333_376 + projector + 4096 + 256 + norms
    learned = online + predictor + 4096 + 256 + norms
    assert work["optimiser, EMA"].bytes == 28 * learned + 8 * online


def test_halving_the_elements_spares_what_is_not_weights() -> None:
    full, half = (
        operations.step_work(small_config(training={"precision": precision}), 26) for precision in ("float32", "bf16")
    )
    for name in ("forward online", "forward target", "backward"):
        assert full[name].flops == half[name].flops and half[name].bytes < full[name].bytes < 2 * half[name].bytes
    assert full["optimiser, EMA"] == half["optimiser, EMA"]


def test_methods_other_than_byol_are_left_out() -> None:
    assert operations.step_work(config_of("tribyol"), 96) == {}


def test_the_roof_is_the_slower_of_both() -> None:
    work = {"products": Work(1000.0, 10.0), "optimiser, EMA": Work(10.0, 1000.0)}
    stages = {"products": 20.0, "optimiser": 4.0, "EMA": 6.0, "input": 99.0}
    found = operations.roofline(work, stages, step=25.0, matrix_peak=100.0, bandwidth=200.0)
    assert found["products"]["share_of_matrix_peak"] == found["products"]["share_of_roof"] == 0.5
    assert found["optimiser, EMA"]["seconds"] == 10.0
    assert found["optimiser, EMA"]["share_of_bandwidth"] == found["optimiser, EMA"]["share_of_roof"] == 0.5
    assert found["products"]["flops_per_byte"] == 100.0
    assert found["bare step"]["seconds"] == 25.0 and found["bare step"]["share_of_roof"] == pytest.approx(0.6)
