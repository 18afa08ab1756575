"""The training loop: epochs over the training clips, and the weights of the epoch that validates best."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer

from byol_a.errors import ByolaError
from byol_a.inputs import ahead
from byol_a.progress import Progress
from downstream.protocols.base import diverged
from downstream.protocols.finetuning.augment import Augmentation
from downstream.protocols.finetuning.choice import EpochChoice
from downstream.protocols.finetuning.network import Classifier, predict
from downstream.protocols.finetuning.schedule import build_optimizer, set_learning_rate
from downstream.protocols.finetuning.waves import ClipWaves, random_unit

if TYPE_CHECKING:
    from downstream.protocols.finetune import FinetuneProtocol

LARGEST_GRADIENT = 5.0  # its norm: a batch of a broken clip costs one bounded step

Judge = Callable[[np.ndarray, list[int]], tuple[float, float]]
"""Logits (n, C) of the clips `indices` to a score from 0 to 1 and to the likelihood of the truth, which is finer."""


class Examples(NamedTuple):
    """A task's clips as a network learns from them.

    Attributes:
        targets: (N, C) bool, of every clip of the task.
        samples: of the units that the network is trained and validated on.
        multi_label: whether a clip may have any number of labels.
    """

    waves: ClipWaves
    targets: np.ndarray
    samples: int
    multi_label: bool


class Fitted(NamedTuple):
    """The epoch whose weights the network has now, counted from 1, and its validation score."""

    epoch: int
    valid_score: float


class Batch(NamedTuple):
    """int16 waves (B, S), targets (B, C) float32, and how many epochs are over in the middle of it."""

    waves: Tensor
    targets: Tensor
    epoch: float


def fit(
    network: Classifier,
    examples: Examples,
    train: Sequence[int],
    valid: Sequence[int],
    settings: FinetuneProtocol,
    seed: int,
    judge: Judge,
    bar: Progress,
) -> Fitted:
    """Train a network and leave it with the weights of its best epoch, as `EpochChoice` has it.

    All randomness is a function of `seed`.

    Args:
        train, valid: indices of clips.
        judge: tells epochs apart.
        bar: counts the clips trained on.

    Raises:
        ByolaError: if too few clips can be used, or the loss is not finite.
    """
    model, waves, samples = network.model, examples.waves, examples.samples
    generator = torch.Generator(model.device).manual_seed(seed)
    augment = Augmentation(settings, model.frontend.config.n_mels, model.frontend.frames_of(samples))
    optimizer = build_optimizer(settings, network)
    choice, best = EpochChoice(len(valid)), Fitted(0, math.nan)
    best_weights: dict[str, Tensor] = {}
    with torch.random.fork_rng(devices=_gpus(model.device)):
        torch.manual_seed(seed)  # for dropout
        for epoch in range(settings.epochs):
            network.freeze(epoch < settings.freeze_epochs)
            network.train()
            losses = []
            for batch in ahead(_batches(examples, train, settings.batch_size, seed, epoch)):
                set_learning_rate(optimizer, settings, batch.epoch)
                losses.append(_step(network, augment, optimizer, batch, generator, examples.multi_label))
                bar.advance(len(batch.waves))
            if not losses:
                raise waves.too_few(train, "to train on")
            loss = _mean_loss(losses, epoch)
            scores = predict(network, waves, valid, samples, settings.test_cut == "whole", settings.batch_size)
            judged = waves.usable(valid)
            if not judged:
                raise waves.too_few(valid, "to validate on")
            score, likelihood = judge(scores[np.isin(valid, judged)], judged)
            if choice.is_best(score, likelihood):
                best = Fitted(epoch + 1, score)
                best_weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
            bar.advance(0, epoch=f"{epoch + 1}/{settings.epochs}", loss=f"{loss:.3f}", valid=f"{score:.3f}")
            if settings.patience is not None and choice.since_rise >= settings.patience:
                _expect_less(bar, (settings.epochs - epoch - 1) * len(train))
                break
    if not best_weights:
        raise diverged(settings.name, settings.peak_lr)
    network.load_state_dict(best_weights)
    return best


def classification_loss(logits: Tensor, targets: Tensor, multi_label: bool) -> Tensor:
    """Cross-entropy with targets (B, C) from 0 to 1: of one softmax, or the mean of a sigmoid for each class."""
    if multi_label:
        return functional.binary_cross_entropy_with_logits(logits, targets)
    return functional.cross_entropy(logits, targets)


def _step(
    network: Classifier,
    augment: Augmentation,
    optimizer: Optimizer,
    batch: Batch,
    generator: torch.Generator,
    multi_label: bool,
) -> Tensor:
    """One optimiser step; the loss, still on the device."""
    device = network.model.device
    waves, targets = batch.waves.to(device), batch.targets.to(device)
    x, wanted = augment(network.log_mels(waves), targets, generator)
    logits = network(x)
    loss = classification_loss(logits, wanted, multi_label)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
    optimizer.step()
    return loss.detach()


def _batches(examples: Examples, train: Sequence[int], batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
    """An epoch in random order, in batches of nearly one size; none of a single clip, which no batch norm takes."""
    waves, targets, samples, _ = examples
    order = np.random.default_rng((seed, epoch)).permutation(waves.usable(train)).tolist()
    n_batches = max(1, math.ceil(len(order) / batch_size))
    size = max(2, math.ceil(len(order) / n_batches))
    windows: list[np.ndarray] = []
    members: list[int] = []
    done = 0

    def batch() -> Batch:
        middle = epoch + (done - len(members) / 2) / len(order)
        return Batch(torch.from_numpy(np.stack(windows)), torch.from_numpy(targets[members].astype(np.float32)), middle)

    for index, wave in waves.read(order):
        windows.append(random_unit(wave, samples, seed, epoch, index))
        members.append(index)
        done += 1
        if len(members) == size:
            yield batch()
            windows, members = [], []
    if len(members) > 1:
        yield batch()


def _mean_loss(losses: list[Tensor], epoch: int) -> float:
    loss = float(torch.stack(losses).mean())
    if not math.isfinite(loss):
        raise ByolaError(f"fine-tuning failed: the loss became {loss} in epoch {epoch + 1}; try a smaller lr")
    return loss


def _expect_less(bar: Progress, units: int) -> None:
    if bar.total is not None:
        bar.total -= units


def _gpus(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []
