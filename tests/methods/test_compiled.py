"""A compiled method learns as an eager one does: Dynamo sees autograd functions of our own in its own way."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from byol_a.config import build
from byol_a.encoders.base import AudioEncoder
from byol_a.encoders.norms import NormConfig
from byol_a.encoders.variational import make_variational
from byol_a.methods import create_method, method_class
from byol_a.methods.heads import mlp_head

from .small import views


@pytest.fixture(autouse=True)
def _no_graphs_of_others() -> Iterator[None]:
    torch.compiler.reset()
    logging.disable(logging.DEBUG)  # pytest would gather torch's traces
    yield
    logging.disable(logging.NOTSET)
    torch.compiler.reset()


def variational_layers() -> nn.Module:
    layers = nn.Sequential(nn.Conv1d(1, 5, 2), nn.Flatten(), nn.Linear(15, 3))
    make_variational(layers, rho=-1.0)
    return layers.train()


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (mlp_head(4, 6, 3, NormConfig("layer", weight_standardization=True)), (5, 4)),
        (variational_layers(), (5, 1, 4)),
    ],
    ids=["standardised", "variational"],
)
def test_computed_weights(network: nn.Module, shape: tuple[int, ...]) -> None:
    def gradients(forward: Any) -> list[torch.Tensor]:
        torch.manual_seed(0)
        out = forward(torch.linspace(-1, 2, torch.Size(shape).numel()).view(shape).sin())
        return list(torch.autograd.grad((out * torch.arange(3.0)).square().sum(), list(network.parameters())))

    expected = gradients(network)
    assert all(gradient.norm() > 1e-6 for gradient in expected[:2])
    torch.testing.assert_close(gradients(torch.compile(network, backend="aot_eager")), expected)


class OneLayer(AudioEncoder):
    """The mean over frequency through a linear layer: few operations to compile."""

    n_mels, frame_stride, frame_context, min_frames, layer_strides = 16, 1, 0, 1, (1,)
    embedding_dim = 8

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 8)

    def frames(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        return self.layer(x.squeeze(1)).relu()

    def layer_frames(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> list[torch.Tensor]:
        return [self.frames(x)]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        # So small a deviation that it does not matter in which order the noise is drawn.
        ("byov", {"rho": -20.0, "beta": 1e-3, "predictor": "linear"}),
        ("byol", {"predictor": "newton_schulz", "loss": "ccsl", "regularizers": {"uniformity": {}, "mhe": {}}}),
    ],
    ids=["byov", "newton_schulz, ccsl, uniformity, mhe"],
)
def test_a_step(name: str, settings: dict[str, Any]) -> None:
    heads = {"projector": {"hidden": 16, "out": 8, "norm": {"kind": "layer"}}}
    torch.manual_seed(0)
    eager = create_method(
        build(method_class(name).config_class, {"name": name, **heads, **settings}, "test"), OneLayer()
    )
    compiled = copy.deepcopy(eager)
    outputs = []
    for method, forward in ((eager, eager), (compiled, torch.compile(compiled, backend="aot_eager"))):
        method.begin_step(0, 10)
        outputs.append(forward(views(batch=4)))
        outputs[-1].loss.backward()
    torch.testing.assert_close(outputs[1].terms, outputs[0].terms)
    for (key, one), other in zip(eager.named_parameters(), compiled.parameters(), strict=True):
        if key.startswith("target."):
            continue
        assert one.grad is not None and one.grad.norm() > 0, key
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-3, atol=1e-6)
