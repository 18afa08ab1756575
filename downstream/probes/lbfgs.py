"""Minimum of many penalised likelihoods at once: preconditioned L-BFGS with a line search that needs no pass.

A fit's Hessian is a sum over clips of (curvature in the logits) x (outer product of the inputs). With the mean
of the first, A, and the sum of the second, X^T X, in place of the sum of products, it becomes A ⊗ X^T X + I / C
(as in K-FAC, arXiv:1503.05671), which is inverted exactly in the eigenbases of A and X^T X. L-BFGS (Liu and
Nocedal, 1989) starts from that inverse and learns the rest. As logits are linear in the weights, moving along a
direction costs no product with the inputs: a step is one product forward and one back, however long the search.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from downstream.probes.eigenbasis import Eigenbasis
from downstream.probes.likelihood import Likelihood

HISTORY = 6  # steps that L-BFGS remembers; more gain nothing behind this preconditioner
SLOPE = 0.2  # the line search ends where the slope is this share of the first
SEARCHES = 12  # points a line search tries at most
RENEWAL = 5  # steps between looks at the mean curvature
MAX_STEPS = 1000


@dataclass
class Fits:
    """P fits of K columns: coordinates (P, K, r) in an eigenbasis, bias (P, K)."""

    coordinates: Tensor
    bias: Tensor

    def __getitem__(self, fits: Tensor) -> Fits:
        return Fits(self.coordinates[fits], self.bias[fits])


def minimise(basis: Eigenbasis, likelihood: Likelihood, strengths: Tensor, start: Fits, tolerance: float) -> Fits:
    """The minimum over weights w and bias of each fit's likelihood + |w|^2 / (2 C); bias is not penalised.

    Args:
        strengths: C of each fit, (P,).
        tolerance: the length of the step left (the preconditioner's own), relative to the weights, both
            measured in the norm that the preconditioner inverts.
    """
    found = Fits(start.coordinates.clone(), start.bias.clone())
    running = torch.arange(len(strengths), device=strengths.device)
    state = _State(basis, likelihood, 1 / strengths, start)
    for step in range(MAX_STEPS):
        if step % RENEWAL == 0:
            state.precondition()
        going = ~state.converged(tolerance)
        if not going.all():
            found.coordinates[running], found.bias[running] = state.at[:, :, :-1], state.at[:, :, -1]
            running = running[going]
            if not len(running):
                return found
            state.keep(going.nonzero()[:, 0])
        state.step()
    found.coordinates[running], found.bias[running] = state.at[:, :, :-1], state.at[:, :, -1]
    return found


class _State:
    """Where the running fits are. The last of the r + 1 coordinates is the bias."""

    def __init__(self, basis: Eigenbasis, likelihood: Likelihood, penalty: Tensor, start: Fits) -> None:
        self.basis, self.likelihood = basis, likelihood
        self.penalty = penalty[:, None, None]
        self.at = torch.cat([start.coordinates, start.bias[:, :, None]], dim=2)
        self.logits = basis.forward(start.coordinates) + start.bias[:, :, None]
        self.residuals = likelihood.residuals(self.logits)
        self.history: list[tuple[Tensor, Tensor, Tensor]] = []  # step, change of gradient, 1 / their product
        self.stuck = torch.zeros(len(penalty), dtype=torch.bool, device=penalty.device)
        self.gradient = self._gradient()
        # What is left where residuals are nothing but rounding, as they are soon if no weight helps.
        self.rounding = 16 * basis.n_clips * torch.finfo(self.at.dtype).eps ** 2

    def _gradient(self) -> Tensor:
        of_weights = self.basis.backward(self.residuals).add_(self.at[:, :, :-1] * self.penalty)
        return torch.cat([of_weights, self.residuals.sum(dim=2, keepdim=True)], dim=2)

    def precondition(self) -> None:
        """Take up the mean curvature at the present logits."""
        curvature, self.turn = torch.linalg.eigh(self.likelihood.curvature(self.logits).double())
        curvature = curvature.clamp_min(0)
        # Moving the bias of all classes alike changes nothing, so there it stays.
        flat = curvature <= 1e-9 * curvature.amax(dim=1, keepdim=True)
        of_bias = torch.where(flat, torch.inf, self.basis.n_clips * curvature)
        of_weights = curvature[:, :, None] * self.basis.eigenvalues.double() + self.penalty.double()
        self.model = torch.cat([of_weights, of_bias[:, :, None]], dim=2).to(self.at.dtype)
        self.turn = self.turn.to(self.at.dtype)

    def _solve(self, gradient: Tensor) -> Tensor:
        return self.turn @ ((self.turn.mT @ gradient) / self.model)

    def converged(self, tolerance: float) -> Tensor:
        """Which fits are at their minimum, (P,) bool; so is one that no step lowers any more."""
        left = _dot(self.gradient, self._solve(self.gradient))
        weights = self.turn.mT @ self.at[:, :, :-1]
        size = (weights.square() * self.model[:, :, :-1]).sum(dim=(1, 2))
        return (left <= tolerance**2 * size + self.rounding) | self.stuck

    def keep(self, fits: Tensor) -> None:
        """Go on with some of the fits."""
        self.likelihood = self.likelihood.only(fits)
        for name in ("penalty", "at", "logits", "residuals", "gradient", "turn", "model", "stuck"):
            setattr(self, name, getattr(self, name)[fits])
        self.history = [(step[fits], change[fits], scale[fits]) for step, change, scale in self.history]

    def step(self) -> None:
        """One step of every fit."""
        direction = self._direction()
        moved = self.basis.forward(direction[:, :, :-1]).add_(direction[:, :, -1:])
        lengths = self._search(direction, moved)[:, None, None]
        before, taken = self.gradient, direction * lengths
        self.at = self.at + taken
        self.stuck = lengths[:, 0, 0] == 0
        self.gradient = self._gradient()
        change = self.gradient - before
        product = _dot(taken, change)
        # A step within rounding teaches nothing.
        scale = torch.where(product > 0, 1 / product, 0)
        self.history = [*self.history[1 - HISTORY :], (taken, change, scale)]

    def _direction(self) -> Tensor:
        left, shares = self.gradient.clone(), []
        for step, change, scale in reversed(self.history):
            shares.append(share := (scale * _dot(step, left))[:, None, None])
            left -= share * change
        direction = self._solve(left)
        for (step, change, scale), share in zip(self.history, reversed(shares), strict=True):
            direction += step * (share - (scale * _dot(change, direction))[:, None, None])
        downhill = _dot(self.gradient, direction) > 0
        if not downhill.all():
            direction = torch.where(downhill[:, None, None], direction, self._solve(self.gradient))
        return direction.neg_()

    def _search(self, direction: Tensor, moved: Tensor) -> Tensor:
        """Lengths (P,) along `direction` at which the objective is nearly flat; takes logits and residuals there.

        The objective is convex, so its slope along the direction rises: the zero is bracketed by `low`, which
        is never worse than the start, and `high`.
        """
        weights, along = self.at[:, :, :-1], direction[:, :, :-1]
        penalty = self.penalty[:, 0, 0]
        constant, linear = _dot(weights, along) * penalty, _dot(along, along) * penalty
        first = _dot(self.gradient, direction)
        low, low_slope = torch.zeros_like(first), first.clone()
        high, high_slope = torch.full_like(first, torch.inf), torch.zeros_like(first)
        length = torch.ones_like(first)
        for _ in range(SEARCHES):
            logits = torch.addcmul(self.logits, moved, length[:, None, None])
            residuals = self.likelihood.residuals(logits)
            slope = _dot(residuals, moved) + constant + linear * length
            flat = slope.abs() <= -SLOPE * first
            if flat.all():
                break
            rising = slope > 0
            high, high_slope = torch.where(rising, length, high), torch.where(rising, slope, high_slope)
            secant = length - slope * (length - low) / (slope - low_slope)
            between = low - low_slope * (high - low) / (high_slope - low_slope)
            low, low_slope = torch.where(rising, low, length), torch.where(rising, low_slope, slope)
            open_ended = torch.isinf(high)
            width = high - low
            # Away from the ends, so that the bracket shrinks from both sides.
            bounded = torch.maximum(torch.minimum(between, low + 0.9 * width), low + 0.1 * width)
            further = torch.minimum(torch.maximum(secant, 1.5 * length), 8 * length)
            length = torch.where(flat, length, torch.where(open_ended, further, bounded))
        else:
            length = torch.where(flat, length, low)
            logits = torch.addcmul(self.logits, moved, length[:, None, None])
            residuals = self.likelihood.residuals(logits)
        self.logits, self.residuals = logits, residuals
        return length


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """Inner product of each fit's entries, (P,)."""
    return torch.linalg.vecdot(left.flatten(1), right.flatten(1))
