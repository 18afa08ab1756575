"""k nearest neighbours by cosine similarity."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from downstream.probes.rows import as_rows

ROWS_AT_ONCE, TRAIN_AT_ONCE = 2048, 8192  # a block of similarities that stays small beside the inputs
TINY = 1e-6  # vote share of a class that no neighbour has, so that its log is a number


class KNNProbe:
    """Scores a clip by the share of its k nearest training clips in each class; nearer ones break ties.

    Args:
        train: (N, D), best standardised.
        targets: (N, C) bool; a clip with several labels votes for each.
        k: neighbours; all training clips where there are fewer.
        device: where similarities are computed.
        multi_label: whether a clip may have any number of labels; by default, whether a training clip has.
    """

    def __init__(
        self,
        train: np.ndarray | Tensor,
        targets: np.ndarray,
        k: int = 10,
        device: str = "cpu",
        multi_label: bool | None = None,
    ) -> None:
        self.k = min(k, len(train))
        self._device = device
        self._train = as_rows(train, device=device)
        self._scale = _inverse_lengths(self._train)
        self._targets = torch.as_tensor(np.asarray(targets), device=device)
        self._multi_label = bool((self._targets.sum(dim=1) != 1).any()) if multi_label is None else multi_label

    def scores(self, inputs: np.ndarray | Tensor) -> np.ndarray:
        """Logits (n, C), float32, of inputs (n, D): log of the vote share (several labels a clip: its logit)."""
        rows = as_rows(inputs, device=self._device)
        shares = torch.cat([self._shares(block) for block in rows.split(ROWS_AT_ONCE)])
        shares = shares * (1 - 2 * TINY) + TINY
        return (shares.logit() if self._multi_label else shares.log()).float().cpu().numpy()

    def neighbours(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine similarities and indices (n, k) of the nearest training clips, nearest first."""
        rows = rows * _inverse_lengths(rows)[:, None]
        best = rows.new_empty(len(rows), 0)
        index = torch.empty(len(rows), 0, dtype=torch.int64, device=rows.device)
        for first in range(0, len(self._train), TRAIN_AT_ONCE):
            block = slice(first, first + TRAIN_AT_ONCE)
            similarity = (rows @ self._train[block].T).mul_(self._scale[block])
            near, place = similarity.topk(min(self.k, similarity.shape[1]), dim=1)
            best, index = torch.cat([best, near], dim=1), torch.cat([index, place + first], dim=1)
            best, order = best.sort(dim=1, descending=True, stable=True)
            best, index = best[:, : self.k], index.gather(1, order[:, : self.k])
        return best, index

    def _shares(self, rows: Tensor) -> Tensor:
        similarity, index = self.neighbours(rows)
        # One vote each, plus less than one vote in all for being near (similarity is in [-1, 1]).
        votes = 1 + (1 + similarity.double()) / 2 / (self.k + 1)
        shares = votes.new_zeros(len(rows), self._targets.shape[1])
        for of_place, clips in zip(votes.T, index.T, strict=True):
            shares += of_place[:, None] * self._targets[clips]
        return shares / votes.sum(dim=1, keepdim=True)


def _inverse_lengths(rows: Tensor) -> Tensor:
    """1 / |row|, (n,); a row of zeros is as far from everything as a right angle."""
    lengths = torch.linalg.vector_norm(rows, dim=1)
    return torch.where(lengths > 0, 1 / lengths, 0)
