"""Linear and MLP probes trained by gradient: many learning rates and seeds at once, each stopped on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from byol_a.progress import Progress
from downstream.metrics import METRICS, Metric
from downstream.probes.adam import StackedAdam
from downstream.probes.heads import Heads
from downstream.probes.rows import as_rows
from downstream.probes.threads import one_thread

SCORED_AT_ONCE = 8192  # clips that pass through the heads together where nothing is learnt
ALONE = 2**26  # products in a batch up to which a second thread does not help
Rows = np.ndarray | Tensor


@dataclass(frozen=True)
class HeadSpec:
    """What sets one head apart from the others that are trained with it.

    Attributes:
        lr: of Adam.
        hidden_layers: 0 (linear), 1 or 2; the same for all that are trained together, as is `hidden_dim`.
        dropout: rate in the hidden layers.
        seed: of the weights, the order of clips and the dropout.
        weight_decay: of Adam, added to the gradient.
    """

    lr: float
    hidden_layers: int = 0
    hidden_dim: int = 1024
    dropout: float = 0.0
    seed: int = 0
    weight_decay: float = 0.0


@dataclass(frozen=True)
class FittedHeads:
    """Heads with the weights they had when they did best on validation.

    Attributes:
        valid_scores: (H,) what they reached there.
        epochs: (H,) after how many epochs; 0 for a head whose validation scores never were finite.
    """

    heads: Heads
    valid_scores: np.ndarray
    epochs: np.ndarray

    def scores(self, inputs: Rows) -> np.ndarray:
        """Logits (H, n, C), float32, of inputs (n, D)."""
        rows = as_rows(inputs, device=str(next(self.heads.parameters()).device))
        return _scores(self.heads, rows.expand(len(self.epochs), -1, -1))


def fit_heads(
    train_x: Rows,
    train_y: np.ndarray,
    valid_x: Rows,
    valid_y: np.ndarray,
    specs: Sequence[HeadSpec],
    *,
    batch_size: int,
    max_epochs: int,
    patience: int,
    multi_label: bool = False,
    device: str = "cpu",
    progress: bool | None = None,
) -> FittedHeads:
    """Train one head per spec by Adam, all in one go; what becomes of a head does not depend on the others.

    A head's batches follow `torch.randperm` of a generator seeded with its seed, the last one of an epoch
    being smaller. The loss is the mean over the batch of the cross entropy, or over the batch and the classes
    of the binary cross entropies. A head stops when `patience` epochs in a row did not raise its validation
    score (accuracy; mAP if `multi_label`); of equal scores the earliest counts.

    Args:
        train_x, valid_x: (N, D) float32.
        train_y, valid_y: (N, C) bool; one True a row unless `multi_label`.
        progress: as `byol_a.progress.Progress` takes it.
    """
    depths = {(spec.hidden_layers, spec.hidden_dim) for spec in specs}
    if len(depths) != 1:
        raise ValueError(f"heads trained together have one shape, and {sorted(depths)} were asked for")
    training = _Training(
        _Clips(train_x, train_y, multi_label, device),
        _Clips(valid_x, valid_y, multi_label, device),
        specs,
        METRICS["macro_map" if multi_label else "accuracy"],
    )
    products = sum(weight.numel() for weight in training.heads.parameters()) * min(batch_size, len(training.train))
    with (
        one_thread(products <= ALONE),
        Progress("training heads", max_epochs, "epoch", progress) as bar,
    ):
        for epoch in range(1, max_epochs + 1):
            training.epoch(batch_size)
            training.validate(epoch, patience)
            bar.advance()
            if not training.running:
                break
    return training.fitted()


class _Clips:
    """Inputs (N, D) and targets: (N,) numbers of classes, or (N, C) of several labels."""

    def __init__(self, inputs: Rows, targets: np.ndarray, multi_label: bool, device: str) -> None:
        self.inputs, self.one_hot, self.multi_label = as_rows(inputs, device=device), np.asarray(targets), multi_label
        whole = torch.as_tensor(self.one_hot, device=device)
        self.targets = whole.float() if multi_label else whole.int().argmax(dim=1)

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, index: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Inputs (H, B, D) and targets (H, B) or (H, B, C) at `index`, (B,) of each head."""
        if all(of_head is index[0] for of_head in index):
            inputs = self.inputs[index[0]].expand(len(index), -1, -1)
        else:
            inputs = torch.stack([self.inputs[of_head] for of_head in index])
        return inputs, torch.stack([self.targets[of_head] for of_head in index])


class _Training:
    """The heads that still learn, and the best that each has been."""

    def __init__(self, train: _Clips, valid: _Clips, specs: Sequence[HeadSpec], metric: Metric) -> None:
        self.train, self.valid, self._metric = train, valid, metric
        self.running = list(range(len(specs)))
        dim, n_classes = train.inputs.shape[1], train.one_hot.shape[1]
        seeds, rates = [spec.seed for spec in specs], [spec.dropout for spec in specs]
        layers, width, device = specs[0].hidden_layers, specs[0].hidden_dim, str(train.inputs.device)
        self.heads, self._best = (Heads(dim, n_classes, seeds, layers, width, rates, device) for _ in range(2))
        self._adam = StackedAdam(
            self.heads.parameters(), [spec.lr for spec in specs], [spec.weight_decay for spec in specs]
        )
        # Heads of one seed see the same order of clips.
        self._seeds = seeds
        self._orders = {seed: torch.Generator().manual_seed(seed) for seed in seeds}
        self._scores, self._epochs = np.full(len(specs), -np.inf), np.zeros(len(specs), dtype=int)

    def epoch(self, batch_size: int) -> None:
        """Every clip once."""
        device = self.train.inputs.device
        orders = {
            seed: torch.randperm(len(self.train), generator=self._orders[seed]).to(device).split(batch_size)
            for seed in {self._seeds[head] for head in self.running}
        }
        self.heads.train()
        for number in range(-(-len(self.train) // batch_size)):
            index = [orders[self._seeds[head]][number] for head in self.running]
            inputs, targets = self.train.batch(index)
            _loss(self.heads(inputs), targets, self.train.multi_label).backward()
            self._adam.step()

    def validate(self, epoch: int, patience: int) -> None:
        """Keep the weights of the heads that did better than before; let those go that have not for long."""
        logits = _scores(self.heads, self.valid.inputs.expand(len(self.running), -1, -1))
        once = np.ones((1, len(self.valid)))
        better = []
        for place, head in enumerate(self.running):
            value = -np.inf
            if np.isfinite(logits[place]).all():
                value = float(np.nan_to_num(self._metric(logits[place], self.valid.one_hot, (), once)[0]))
            if value > self._scores[head]:
                self._scores[head], self._epochs[head] = value, epoch
                better.append(place)
        self._remember(better)
        staying = [place for place, head in enumerate(self.running) if epoch - self._epochs[head] < patience]
        if len(staying) < len(self.running):
            self.running = [self.running[place] for place in staying]
            kept = torch.tensor(staying, dtype=torch.int64, device=self.valid.inputs.device)
            self.heads.keep(kept)
            self._adam.keep(kept, self.heads.parameters())

    def _remember(self, places: list[int]) -> None:
        heads = [self.running[place] for place in places]
        with torch.no_grad():
            for best, now in zip(self._best.state_dict().values(), self.heads.state_dict().values(), strict=True):
                best[heads] = now[places]

    def fitted(self) -> FittedHeads:
        """The best of each head."""
        return FittedHeads(self._best, self._scores, self._epochs)


def _loss(logits: Tensor, targets: Tensor, multi_label: bool) -> Tensor:
    """Sum of the heads' mean losses, so that each has the gradient it would have alone."""
    n_heads = len(logits)
    if multi_label:
        return binary_cross_entropy_with_logits(logits, targets) * n_heads
    return cross_entropy(logits.flatten(0, 1), targets.flatten()) * n_heads


@torch.no_grad()
def _scores(heads: Heads, inputs: Tensor) -> np.ndarray:
    """Logits (H, n, C) of inputs (H, n, D)."""
    heads.eval()
    return torch.cat([heads(block) for block in inputs.split(SCORED_AT_ONCE, dim=1)], dim=1).cpu().numpy()
