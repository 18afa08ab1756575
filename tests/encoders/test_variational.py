"""Variational weights: the draw, its gradient, the divergence, and one sample held for many inputs."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn.utils import parametrize

from byol_a.encoders import create_encoder, variational
from byol_a.encoders.norms import standardize_weights
from byol_a.encoders.variational import (
    GaussianWeight,
    gaussians,
    is_variational,
    make_plain,
    make_variational,
    mean_sigma,
    n_weights,
    sigma_once,
    weight_sample,
)
from byol_a.errors import UsageError


def network(rho: float | None = -1.0) -> nn.Sequential:
    """Convolution and linear layers, and what is not variational."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))
    if rho is not None:
        make_variational(layers, rho)
    return layers


def uneven(layers: nn.Module) -> nn.Module:
    """Deviations that are not all alike."""
    with torch.no_grad():
        for _, gaussian in gaussians(layers):
            gaussian.rho.add_(torch.randn(gaussian.rho.shape))
    return layers


def gaussian(mean: Tensor, rho: Tensor) -> GaussianWeight:
    """A Gaussian of given deviations, which take a gradient."""
    made = GaussianWeight(mean)
    del made.rho
    made.rho = rho
    return made


def weights(layers: nn.Module) -> list[Tensor]:
    return [layer.weight.detach().clone() for layer in layers.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def test_draws_have_the_mean_and_deviation_they_should() -> None:
    torch.manual_seed(0)
    mean, rho = torch.randn(300, 200), torch.linspace(-6, 3, 300)[:, None].expand(300, 200).contiguous()
    scaled = (gaussian(mean, rho)(mean) - mean) / rho.exp().log1p()
    assert abs(scaled.mean().item()) < 5 / math.sqrt(60_000)
    torch.testing.assert_close(scaled.std(dim=1), torch.ones(300), atol=5 / math.sqrt(400), rtol=0)
    layer = network()[3]
    assert not torch.equal(layer.weight, layer.weight)
    layer.eval()
    assert torch.equal(layer.weight, layer.parametrizations.weight.original)


def test_the_gradient_of_a_draw_with_its_noise_fixed() -> None:
    def draw(mean: Tensor, rho: Tensor) -> Tensor:
        torch.manual_seed(5)
        return gaussian(mean, rho)(mean)

    mean, rho = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(draw, (mean.requires_grad_(), (3 * rho).requires_grad_()))


def test_the_divergence_is_that_of_torch_distributions() -> None:
    layers = uneven(network().double())
    prior = Normal(*torch.tensor([0.0, 0.3], dtype=torch.float64))
    expected = sum(
        kl_divergence(Normal(mean, nn.functional.softplus(gaussian.rho)), prior).sum()
        for mean, gaussian in gaussians(layers)
    )
    divergence = variational.kl_divergence(layers, 0.3)
    torch.testing.assert_close(divergence, expected)
    parameters = [p for pair in gaussians(layers) for p in (pair[0], pair[1].rho)]
    own, reference = (torch.autograd.grad(3 * value, parameters) for value in (divergence, expected))
    torch.testing.assert_close(own, reference)
    assert n_weights(layers) == 4 * 2 * 9 + 16 * 5
    assert variational.kl_divergence(nn.Linear(2, 2), 0.3) == 0


def test_deviations_kept_for_several_draws_change_nothing() -> None:
    def gradients(layers: nn.Module) -> list[Tensor]:
        torch.manual_seed(0)
        x = torch.randn(3, 2, 4, 4)
        loss = layers(x).square().mean() + layers(x).mean() + 0.01 * variational.kl_divergence(layers, 0.3)
        return list(torch.autograd.grad(loss, list(layers.parameters())))

    layers = uneven(network())
    expected = gradients(layers)
    with sigma_once(layers):
        torch.testing.assert_close(gradients(layers), expected)
    with torch.no_grad():
        next(gaussians(layers))[1].rho.fill_(-60.0)
    assert torch.allclose(layers[0].weight, layers[0].weight)  # nothing is kept afterwards


def test_descending_the_divergence_leads_to_the_prior() -> None:
    layers = uneven(network())
    optimizer = torch.optim.Adam(layers.parameters(), 0.05)
    for _ in range(300):
        variational.kl_divergence(layers, 0.2).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert mean_sigma(layers).item() == pytest.approx(0.2, rel=0.01)
    assert max(mean.abs().max().item() for mean, _ in gaussians(layers)) < 1e-3


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("AudioNTT2020", {"embedding_dim": 8}),
        ("AudioNTT2022", {"hidden_dim": 8, "norm": "layer", "weight_standardization": True}),
        ("timm:vit_tiny_patch16_224", {"depth": 1}),
    ],
)
def test_a_training_pass_draws_once_a_layer_and_evaluation_takes_the_means(name: str, options: dict) -> None:
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    torch.manual_seed(0)
    plain = create_encoder(name, 16, **options)
    torch.manual_seed(0)
    encoder = create_encoder(name, 16, variational=True, **options)
    draws: Counter[GaussianWeight] = Counter()
    for _, gaussian in gaussians(encoder):
        gaussian.register_forward_hook(lambda module, *_: draws.update([module]))
    x = torch.randn(2, 1, 16, 32)
    with torch.no_grad():
        torch.testing.assert_close(encoder.eval()(x), plain.eval()(x))
    draws.clear()
    encoder.train()(x).sum().backward()
    assert draws and set(draws.values()) == {1} and len(draws) == len(list(gaussians(encoder)))
    assert all(gaussian.rho.grad is not None for _, gaussian in gaussians(encoder))


def test_it_says_what_is_variational_and_refuses_half_measures() -> None:
    encoder = create_encoder("AudioNTT2020", 16, embedding_dim=8, variational=True)
    assert is_variational(encoder) and not is_variational(create_encoder("AudioNTT2020", 16, embedding_dim=8))
    names = {name for name, _ in encoder.fc[0].named_parameters()}
    assert names == {"bias", "parametrizations.weight.original", "parametrizations.weight.0.rho"}
    assert mean_sigma(encoder).item() == pytest.approx(math.log1p(math.exp(-6)), rel=1e-5)
    make_variational(encoder, -2.0)
    assert len(encoder.fc[0].parametrizations.weight) == 1
    assert mean_sigma(encoder).item() == pytest.approx(math.log1p(math.exp(-2)), rel=1e-5)
    with pytest.raises(UsageError, match="true or false"):
        create_encoder("AudioNTT2020", 16, variational="yes")  # type: ignore[arg-type]


@pytest.fixture(params=[False, True], ids=["", "standardised"])
def layers(request: pytest.FixtureRequest) -> Iterator[nn.Sequential]:
    made = network(None)
    if request.param:
        standardize_weights(made)
    make_variational(made, -1.0)
    yield made


def test_a_weight_is_drawn_first_and_standardised_afterwards(layers: nn.Sequential) -> None:
    if len(layers[3].parametrizations.weight) > 1:
        for weight in weights(layers):
            torch.testing.assert_close(weight.flatten(1).mean(1), torch.zeros(len(weight)), atol=1e-6, rtol=0)
    assert not torch.equal(weights(layers)[0], weights(layers)[0])


def test_a_plain_copy_is_the_mean_and_leaves_the_original_alone(layers: nn.Sequential) -> None:
    twin = copy.deepcopy(layers)
    make_plain(twin)
    assert not is_variational(twin) and not any("rho" in name for name in twin.state_dict())
    assert is_variational(layers) and not torch.equal(weights(layers)[0], weights(layers)[0])
    for weight, mean in zip(weights(twin.train()), weights(layers.eval()), strict=True):
        assert torch.equal(weight, mean)


def test_a_held_sample_depends_on_the_seed_alone_and_is_let_go(layers: nn.Sequential) -> None:
    means = weights(layers.eval())

    def held(seed: int) -> list[Tensor]:
        with weight_sample(layers, seed):
            return weights(layers)

    one, other = held(1), held(2)
    torch.rand(7)
    assert all(torch.equal(a, b) for a, b in zip(one, held(1), strict=True))
    twin = copy.deepcopy(layers).to(memory_format=torch.channels_last)
    with weight_sample(twin, 1):
        torch.testing.assert_close(weights(twin), one)  # but for the rounding of sums in another order
    assert not any(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    layers.train()
    with weight_sample(layers, 1):
        with weight_sample(layers, 2):
            assert torch.equal(weights(layers)[0], other[0])
        assert torch.equal(weights(layers)[0], one[0])
    layers.eval()
    with pytest.raises(KeyboardInterrupt), weight_sample(layers, 1):
        raise KeyboardInterrupt
    assert all(torch.equal(a, b) for a, b in zip(means, weights(layers), strict=True))


def test_a_sample_lies_in_memory_as_its_mean_does() -> None:
    """The layout of its weights decides whether a network runs in channels_last, which is several times faster."""
    encoder = create_encoder("AudioNTT2022", 16, hidden_dim=8, variational=True).to(memory_format=torch.channels_last)
    x = torch.randn(2, 1, 16, 32)
    for layer in (encoder.features[0], encoder.features[4]):
        mean = layer.parametrizations.weight.original
        assert layer.weight.stride() == mean.stride()
        with weight_sample(encoder, 0):
            assert layer.weight.stride() == mean.stride()
    assert encoder.features(x).is_contiguous(memory_format=torch.channels_last)


def test_samples_stay_float32_under_autocast() -> None:
    layers = network()
    with torch.autocast("cpu", torch.bfloat16):
        weight = layers[3].weight
        layers(torch.randn(3, 2, 4, 4)).sum().backward()
    assert weight.dtype == torch.float32
    assert layers[3].parametrizations.weight[0].rho.grad.dtype == torch.float32


@pytest.mark.gpu
def test_held_samples_are_the_same_on_a_gpu() -> None:
    layers = network().eval()
    with weight_sample(layers, 3):
        here = weights(layers)
    with weight_sample(layers.cuda(), 3):
        there = weights(layers)
    for a, b in zip(here, there, strict=True):
        torch.testing.assert_close(a, b.cpu())


def test_taking_the_gaussians_away_leaves_what_other_parameters_pass_through() -> None:
    layer = nn.Linear(3, 2)
    make_variational(layer)
    parametrize.register_parametrization(layer, "bias", nn.Tanh(), unsafe=True)
    twin = copy.deepcopy(layer)
    make_plain(layer)
    assert isinstance(layer.weight, nn.Parameter) and not is_variational(layer)
    torch.testing.assert_close(layer.bias, layer.parametrizations["bias"].original.tanh())
    assert is_variational(twin) and twin.eval()(torch.ones(1, 3)).allclose(layer(torch.ones(1, 3)))
