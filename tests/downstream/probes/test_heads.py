"""Stacked heads and stacked Adam against torch's own modules, one head at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from downstream.probes.adam import StackedAdam
from downstream.probes.heads import Heads


def module_of(heads: Heads, head: int) -> nn.Sequential:
    """Head `head` in torch's own layers, without dropout."""
    modules: list[nn.Module] = []
    for linear, norm in zip([*heads.layers, heads.last], [*heads.norms, None], strict=True):
        of, to = linear.weight.shape[1:]
        modules.append(nn.Linear(of, to))
        modules[-1].weight.data = linear.weight[head].detach().T.clone()
        modules[-1].bias.data = linear.bias[head, 0].detach().clone()
        if norm is not None:
            modules += [nn.BatchNorm1d(to), nn.ReLU()]
    return nn.Sequential(*modules)


@pytest.mark.parametrize("hidden_layers", [0, 1, 2])
def test_a_head_is_torchs_own_layers(hidden_layers: int) -> None:
    heads = Heads(7, 3, [1, 2, 3], hidden_layers, hidden_dim=16)
    inputs = torch.randn(3, 20, 7)
    modules = [module_of(heads, head) for head in range(3)]
    for training in (True, True, False):
        heads.train(training)
        found = heads(inputs)
        assert found.shape == (3, 20, 3)
        for head, module in enumerate(modules):
            torch.testing.assert_close(found[head], module.train(training)(inputs[head]), atol=1e-5, rtol=1e-4)


def test_weights_come_from_a_heads_own_seed_as_torch_draws_them() -> None:
    together, alone = Heads(300, 40, [5, 6]), Heads(300, 40, [6])
    torch.testing.assert_close(together.last.weight[1], alone.last.weight[0], atol=0, rtol=0)
    assert not torch.equal(together.last.weight[0], together.last.weight[1])
    bound = 300**-0.5
    drawn = torch.cat([together.last.weight.flatten(), together.last.bias.flatten()]).detach()
    assert drawn.abs().max() <= bound and abs(float(drawn.std()) - bound / 3**0.5) < 0.02 * bound


def test_dropout_is_a_heads_own_and_keeps_the_mean() -> None:
    together, alone = (Heads(9, 3, seeds, 1, 32, [0.5] * len(seeds)).train() for seeds in ([4, 8], [8]))
    inputs = torch.randn(50, 9)
    torch.testing.assert_close(together(inputs.expand(2, -1, -1))[1], alone(inputs[None])[0])
    dropped = together._drop(torch.ones(2, 4000, 32))
    assert set(dropped.unique().tolist()) == {0.0, 2.0} and abs(float(dropped.mean()) - 1) < 0.02
    assert torch.equal(together.eval()._drop(inputs.expand(2, -1, -1)), inputs.expand(2, -1, -1))


def test_going_on_with_some_of_the_heads() -> None:
    heads = Heads(5, 3, [1, 2, 3], 1, 8, [0.1, 0.2, 0.3])
    inputs = torch.randn(3, 6, 5)
    before = heads.eval()(inputs)
    heads.keep(torch.tensor([0, 2]))
    torch.testing.assert_close(heads(inputs[[0, 2]]), before[[0, 2]])
    assert all(len(parameter) == 2 for parameter in heads.parameters())


def test_adam_is_torchs_own_with_a_rate_for_each() -> None:
    torch.manual_seed(0)
    start, wanted = torch.randn(3, 4, 2), torch.randn(3, 4, 2)
    lrs, decays = [1e-1, 1e-2, 1e-3], [0.0, 1e-1, 1e-2]
    stacked = start.clone().requires_grad_()
    adam = StackedAdam([stacked], lrs, decays)
    singles = [part.clone().requires_grad_() for part in start]
    optimizers = [
        torch.optim.Adam([single], lr=lr, weight_decay=decay)
        for single, lr, decay in zip(singles, lrs, decays, strict=True)
    ]

    def loss(value: Tensor, goal: Tensor) -> Tensor:
        return (value - goal).pow(4).sum()

    for _ in range(30):
        loss(stacked, wanted).backward()
        adam.step()
        for single, goal, optimizer in zip(singles, wanted, optimizers, strict=True):
            optimizer.zero_grad()
            loss(single, goal).backward()
            optimizer.step()
    torch.testing.assert_close(stacked.detach(), torch.stack([single.detach() for single in singles]))
