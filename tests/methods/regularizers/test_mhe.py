"""MHE over the layers of networks: which weights, which neurons, and that learning by it spreads them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from byol_a.config import build
from byol_a.errors import UsageError
from byol_a.methods.regularizers import RegularizersConfig
from byol_a.methods.regularizers.hyperspherical_energy import hyperspherical_energy
from byol_a.methods.regularizers.mhe import MHE, MHEConfig, layer_weights

PROJECTIONS = [torch.zeros(4, 3)] * 2


class Double(nn.Module):
    """A parametrisation."""

    def forward(self, weight: Tensor) -> Tensor:
        raise AssertionError("the energy is that of the parameter, which needs no computing")


def networks() -> list[nn.Module]:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, groups=2))
    head = nn.Sequential(nn.Linear(8, 20), nn.BatchNorm1d(20), nn.Linear(20, 1))
    return [trunk, head]


def test_every_layer_of_more_than_one_neuron_counts_once() -> None:
    trunk, head = networks()
    weights = layer_weights([trunk, head, nn.Sequential(head[0])])  # type: ignore[index]
    assert [tuple(weight.shape) for weight in weights] == [(6, 1, 3, 3), (8, 3, 3, 3), (20, 8)]
    expected = sum(hyperspherical_energy(weight.flatten(1), 2, True) for weight in weights)
    torch.testing.assert_close(MHE(MHEConfig())([trunk, head], PROJECTIONS), expected)
    trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.testing.assert_close(MHE(MHEConfig())([trunk, head], PROJECTIONS), expected)
    assert MHE(MHEConfig())([nn.Identity()], PROJECTIONS).item() == 0


def test_of_a_computed_weight_it_is_the_parameter() -> None:
    layer = nn.Linear(5, 4)
    weight = layer.weight
    parametrize.register_parametrization(layer, "weight", Double(), unsafe=True)
    assert [found is weight for found in layer_weights([layer])] == [True]
    MHE(MHEConfig())([layer], PROJECTIONS).backward()
    assert weight.grad is not None


def test_neurons_are_drawn_by_the_step() -> None:
    """Some of a wide layer: the same at the same step wherever that is, others at another, all of a narrow one."""
    layers = [nn.Linear(3, 50), nn.Linear(3, 10)]

    def looked_at(step: int, mhe: MHE) -> list[list[int]]:
        mhe.begin_step(step, 100)
        for layer in layers:
            layer.zero_grad()
        mhe(layers, PROJECTIONS).backward()
        return [layer.weight.grad.abs().sum(dim=1).nonzero().flatten().tolist() for layer in layers]  # type: ignore[union-attr]

    mhe = MHE(MHEConfig(neurons=10))
    at_7, at_8 = looked_at(7, mhe), looked_at(8, mhe)
    torch.manual_seed(123)  # other random numbers have nothing to do with it
    resumed = copy.deepcopy(mhe)
    assert looked_at(7, resumed) == at_7 != at_8
    assert [len(rows) for rows in at_7] == [10, 10]
    everything = {row for step in range(60) for row in looked_at(step, mhe)[0]}
    assert everything == set(range(50))


def test_the_drawn_energy_is_about_the_layers() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(16, 128)
    whole = hyperspherical_energy(layer.weight, 2, True)
    mhe = MHE(MHEConfig(neurons=64))
    drawn = []
    for step in range(30):
        mhe.begin_step(step, 30)
        drawn.append(mhe([layer], PROJECTIONS))
    assert torch.stack(drawn).mean().item() == pytest.approx(whole.item(), rel=0.02)


@pytest.mark.parametrize("s", [0, 1, 2])
def test_a_few_steps_lower_it(s: int) -> None:
    trunk, head = networks()
    mhe = MHE(build(MHEConfig, {"s": s}, "test"))
    optimizer = torch.optim.Adam([*trunk.parameters(), *head.parameters()], 0.01)
    energies = []
    for step in range(30):
        mhe.begin_step(step, 30)
        energy = mhe([trunk, head], PROJECTIONS)
        optimizer.zero_grad()
        energy.backward()
        optimizer.step()
        energies.append(energy.item())
    assert energies == sorted(energies, reverse=True)
    assert energies[-1] < energies[0] - 0.02


def test_settings() -> None:
    config = build(RegularizersConfig, {"mhe": {"s": 0, "half_space": False}}, "test")
    assert config == RegularizersConfig(mhe=MHEConfig(s=0, half_space=False))
    with pytest.raises(UsageError, match=r"mhe\.s"):
        build(RegularizersConfig, {"mhe": {"s": 3}}, "test")
    for settings in ({"weight": -0.1}, {"neurons": 1}):
        with pytest.raises(UsageError, match=f"mhe.{next(iter(settings))}"):
            MHEConfig(**settings)
