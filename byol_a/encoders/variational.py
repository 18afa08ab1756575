"""Variational weights: a Gaussian over every weight of a network's convolutions and linear layers.

Bayes by Backprop (Blundell et al. 2015, arXiv 1505.05424, section 3.2), as BYOV uses it: `w = mu + softplus(rho) eps`.
In training mode each pass through a layer draws one sample; in evaluation mode the weight is mu, or a sample that
`weight_sample` holds. mu is the layer's own parameter (`parametrizations.weight.original` in a state dict), rho lies
beside it; biases and norm layers stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from byol_a.encoders.parametrizations import (
    WeightLayer,
    original_weight,
    register_first,
    remove_first,
    weight_layers,
    weight_steps,
)

INITIAL_RHO = -6.0  # a deviation of 0.0025, where the weights of a layer of 2,000 inputs begin with one of 0.013


class GaussianWeight(nn.Module):
    """The parametrisation of one weight: its mean in, the mean or a sample out.

    Args:
        mean: the weight, of any shape.
        rho: where each deviation `softplus(rho)` starts.

    Attributes:
        held: a sample that is used instead of all others, if there is one.
        kept_sigma: the deviations, while they are kept for several draws.
    """

    def __init__(self, mean: Tensor, rho: float = INITIAL_RHO) -> None:
        super().__init__()
        self.rho = nn.Parameter(torch.full_like(mean, rho))
        self.held: Tensor | None = None
        self.kept_sigma: Tensor | None = None

    @property
    def sigma(self) -> Tensor:
        """The deviations softplus(rho), without gradient."""
        return self.kept_sigma if self.kept_sigma is not None else F.softplus(self.rho.detach())

    def forward(self, mean: Tensor) -> Tensor:
        """The weight to use, of the mean's shape and type; in training mode another sample at each call.

        A sample is `mean + softplus(rho) eps` with standard normal `eps` of torch's generator, differentiable in both.
        """
        if self.held is not None:
            return self.held
        if not self.training:
            return mean
        sample: Tensor = _Sample.apply(mean, self.rho, self.sigma)
        return sample


def make_variational(network: nn.Module, rho: float = INITIAL_RHO) -> None:
    """Put a Gaussian over the weights of every convolution and linear layer of `network`, in place.

    The mean is the weight as it was. Those that have a Gaussian already keep their mean, and their deviations start
    anew. What a weight is computed by otherwise (weight standardisation) comes after the sampling.
    """
    for layer in weight_layers(network):
        if (gaussian := _gaussian(layer)) is not None:
            nn.init.constant_(gaussian.rho, rho)
        else:
            gaussian = GaussianWeight(original_weight(layer), rho).eval()  # registering tries it: no draw then
            register_first(layer, gaussian)
            gaussian.train(layer.training)


def make_plain(network: nn.Module) -> None:
    """Take the Gaussians away again, in place: each weight is its mean."""
    for layer in list(weight_layers(network)):
        if _gaussian(layer) is not None:
            remove_first(layer)


def is_variational(network: nn.Module) -> bool:
    """Whether any weight of `network` has a Gaussian."""
    return any(True for _ in gaussians(network))


def gaussians(network: nn.Module) -> Iterator[tuple[nn.Parameter, GaussianWeight]]:
    """The mean of each variational weight of `network`, with its Gaussian, in the order of the layers."""
    for layer in weight_layers(network):
        if (gaussian := _gaussian(layer)) is not None:
            yield original_weight(layer), gaussian


@contextmanager
@torch.no_grad()
def weight_sample(network: nn.Module, seed: int) -> Iterator[None]:
    """Inside, the variational weights of `network` are one sample, the same for a seed on every device.

    The sample takes no gradient. It is made of the weights as they are on entering.
    """
    generator = torch.Generator().manual_seed(seed)
    before = [(gaussian, gaussian.held) for _, gaussian in gaussians(network)]
    try:
        for mean, gaussian in gaussians(network):
            noise = torch.randn(mean.shape, generator=generator).to(mean)
            gaussian.held = _drawn(mean, gaussian.sigma, noise)
        yield
    finally:
        for gaussian, held in before:
            gaussian.held = held


@contextmanager
def sigma_once(network: nn.Module) -> Iterator[None]:
    """Inside, deviations are computed once for all draws and divergences; weights must not change meanwhile."""
    found = [gaussian for _, gaussian in gaussians(network)]
    try:
        for gaussian in found:
            gaussian.kept_sigma = gaussian.sigma
        yield
    finally:
        for gaussian in found:
            gaussian.kept_sigma = None


def kl_divergence(network: nn.Module, prior_std: float) -> Tensor:
    """`KL(N(mu, sigma^2) || N(0, s^2))`, summed over all variational weights of `network`; a scalar.

    In closed form, `log(s / sigma) + (sigma^2 + mu^2) / (2 s^2) - 1/2` a weight.

    Args:
        prior_std: s, the prior's standard deviation.
    """
    parts = [_KL.apply(mean, gaussian.rho, gaussian.sigma, prior_std) for mean, gaussian in gaussians(network)]
    return torch.stack(parts).sum() if parts else torch.zeros(())


def n_weights(network: nn.Module) -> int:
    """How many variational weights `network` has."""
    return sum(mean.numel() for mean, _ in gaussians(network))


@torch.no_grad()
def mean_sigma(network: nn.Module) -> Tensor:
    """The mean standard deviation of the variational weights of `network`; a scalar."""
    total = torch.stack([gaussian.sigma.sum() for _, gaussian in gaussians(network)]).sum()
    return total / n_weights(network)


class _Sample(torch.autograd.Function):
    """One draw; beside its inputs only the noise is kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, rho: Tensor, sigma: Tensor) -> Tensor:
        noise = torch.empty_like(mean).normal_()
        ctx.save_for_backward(rho, noise)
        return _drawn(mean, sigma, noise)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        rho, noise = ctx.saved_tensors
        slope = torch.sigmoid(rho)  # d sigma / d rho
        return grad, slope.mul_(noise).mul_(grad), None


class _KL(torch.autograd.Function):
    """The divergence of one weight tensor, with as few passes over it as it takes."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, rho: Tensor, sigma: Tensor, prior_std: float) -> Tensor:
        ctx.save_for_backward(mean, rho, sigma)
        ctx.prior_std = prior_std
        squares = torch.linalg.vector_norm(mean).square() + torch.linalg.vector_norm(sigma).square()
        each = math.log(prior_std) - 0.5
        return squares / (2.0 * prior_std**2) + each * mean.numel() - sigma.log().sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        mean, rho, sigma = ctx.saved_tensors
        variance = ctx.prior_std**2
        slope = torch.sigmoid(rho)
        by_rho = torch.mul(sigma, slope).addcdiv_(slope, sigma, value=-variance)  # (sigma - s^2 / sigma) slope
        scale = grad / variance
        return mean * scale, by_rho.mul_(scale), None, None


def _drawn(mean: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    if torch.compiler.is_compiling():  # which knows layouts itself, and loses the gradient of what is written to `out`
        return torch.addcmul(mean, sigma, noise)
    # In the mean's memory layout: torch's own choice for one input channel would make the network leave channels_last.
    return torch.addcmul(mean, sigma, noise, out=torch.empty_like(mean))


def _gaussian(layer: WeightLayer) -> GaussianWeight | None:
    """The Gaussian over the layer's weight, if it has one; it comes before all else."""
    first = next(iter(weight_steps(layer)), None)
    return first if isinstance(first, GaussianWeight) else None
