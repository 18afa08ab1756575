"""Gradient and mean curvature of the two likelihoods in the logits, for many fits at once.

Shapes: P fits of K coupled columns on N clips. Logits are (P, K, N): what is done over classes runs along N.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

CURVATURE_CLIPS = 8192  # that the mean curvature is estimated from: it only steers the search


class Likelihood(Protocol):
    """Negative log-likelihood of P fits, each summed over the clips its row of a mask takes."""

    def residuals(self, logits: Tensor) -> Tensor:
        """Gradient (P, K, N) at logits (P, K, N)."""

    def curvature(self, logits: Tensor) -> Tensor:
        """Mean Hessian (P, K, K) of a clip, clips left out counting as zero."""

    def only(self, fits: Tensor) -> Likelihood:
        """That of some of the fits, by index."""


class Softmax:
    """One label a clip out of K: labels (N,) and, where fits differ in their clips, a mask (P, N) of 0 and 1."""

    def __init__(self, labels: Tensor, mask: Tensor | None) -> None:
        self._labels, self._mask = labels, mask

    def residuals(self, logits: Tensor) -> Tensor:
        found = torch.softmax(logits, dim=1)
        own = self._labels.expand(len(logits), 1, -1)
        # p - 1 of a clip's own class as minus the sum of the others: no digits are lost where p is close to 1.
        found.scatter_(1, own, 0)
        found.scatter_(1, own, -found.sum(dim=1, keepdim=True))
        return found if self._mask is None else found.mul_(self._mask[:, None])

    def curvature(self, logits: Tensor) -> Tensor:
        step = -(-logits.shape[-1] // CURVATURE_CLIPS)
        probabilities = torch.softmax(logits[..., ::step], dim=1)
        weighted = probabilities if self._mask is None else probabilities * self._mask[:, None, ::step]
        products = weighted @ probabilities.mT
        return (torch.diag_embed(weighted.sum(dim=-1)) - products) / probabilities.shape[-1]

    def only(self, fits: Tensor) -> Softmax:
        return Softmax(self._labels, None if self._mask is None else self._mask[fits])


class Sigmoid:
    """Binary fits (K = 1), each with its signs (P, N): 1 where the label is there, -1 where not, 0 left out."""

    def __init__(self, signs: Tensor) -> None:
        self._signs = signs

    def residuals(self, logits: Tensor) -> Tensor:
        signs = self._signs[:, None]
        return torch.sigmoid(logits * -signs).mul_(signs).neg_()

    def curvature(self, logits: Tensor) -> Tensor:
        step = -(-logits.shape[-1] // CURVATURE_CLIPS)
        probabilities = torch.sigmoid(logits[..., ::step])
        weighted = probabilities * (1 - probabilities) * self._signs[:, None, ::step].abs()
        return weighted.mean(dim=-1, keepdim=True)

    def only(self, fits: Tensor) -> Sigmoid:
        return Sigmoid(self._signs[fits])
