"""The energy of directions on a sphere: high where some are close to each other (Liu et al. 2018, arXiv 1805.09298)."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Power = Literal[0, 1, 2]
CLOSEST = 1e-3
"""Squared distance (an angle of 1.8 degrees) below which the energy of a pair goes on along its tangent."""
_OPPOSITE = (-math.log(4.0), 1 / 2, 1 / 4)  # the energy of two opposite rows, by s


def hyperspherical_energy(rows: Tensor, s: Power, half_space: bool) -> Tensor:
    """Mean over pairs i < j of the energy of two L2-normalised rows, `d^2 = 2 - 2 cos(w_i, w_j)`.

    `-log d^2` for s = 0, `1 / d` for s = 1, `1 / d^2` for s = 2. Half-space adds each row's opposite to the set, so
    that the rows spread as lines, not as arrows. Only the cosines of the rows themselves are computed for it: a pair of
    rows stands for two pairs at c and two at -c, and each row with its own opposite is a constant.

    Below `CLOSEST` the energy continues as its tangent: rows that coincide have a finite energy, and almost coinciding
    ones a finite gradient. A row of zeros is at right angles to every other, and has no gradient.

    Args:
        rows: (N, K), N at least 2, float32 or float64.
        s: the power of the distance.
        half_space: whether the rows' opposites belong to the set.

    Returns:
        A scalar of the rows' type; differentiable once.
    """
    energy: Tensor = _Energy.apply(rows, s, half_space)
    return energy


class _Energy(torch.autograd.Function):
    """With the N x N slopes at hand the gradient is one product, half of what autograd would do; nothing else is kept.

    The products are float32 under autocast, too: near 1 the steps of a bfloat16 cosine are 0.004, and the pairs that
    matter most lie there.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, s: Power, half_space: bool) -> Tensor:
        norm = rows.norm(dim=1, keepdim=True)
        inverse = torch.where(norm > 0, norm.reciprocal(), 0.0)
        directions = rows * inverse
        with torch.autocast(rows.device.type, enabled=False):
            squared = (directions @ directions.T).mul_(-2.0).add_(2.0)
        energy, slope = _pair_energy(squared, s)
        count = len(rows) * (len(rows) - 1)  # the matrix has each pair twice
        constant = 0.0
        if half_space:
            opposite, opposite_slope = _pair_energy(4.0 - squared, s)
            energy, slope = energy.add_(opposite), slope.sub_(opposite_slope)
            count = len(rows) * (2 * len(rows) - 1)  # pairs of 2N rows: the two matrices and the N opposites
            constant = len(rows) * _OPPOSITE[s]
        slope.fill_diagonal_(0.0)
        ctx.save_for_backward(directions, inverse, slope)
        ctx.scale = -4.0 / count  # d^2 falls by twice the cosine, and each pair stands there twice
        total: Tensor = energy.fill_diagonal_(0.0).sum()
        return (total + constant) / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        directions, inverse, slope = ctx.saved_tensors
        with torch.autocast(directions.device.type, enabled=False):
            pull = slope @ directions
        along = (pull * directions).sum(dim=1, keepdim=True)
        return (pull - along * directions) * (inverse * (grad * ctx.scale)), None, None


def _pair_energy(squared: Tensor, s: Power) -> tuple[Tensor, Tensor]:
    """Energies of squared distances, and their derivatives, elementwise."""
    apart = squared.clamp(min=CLOSEST)
    if s == 0:
        energy, slope = apart.log().neg_(), apart.reciprocal().neg_()
    elif s == 1:
        energy = apart.rsqrt()
        slope = energy / apart * -0.5
    else:
        energy = apart.reciprocal()
        slope = energy.square().neg_()
    return energy.addcmul_(slope, squared - apart), slope
