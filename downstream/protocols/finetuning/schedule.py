"""How large the steps are: warm-up, then a half cosine down to nothing; the encoder may begin later."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch.optim import SGD, AdamW, Optimizer

from downstream.protocols.finetuning.network import Classifier

if TYPE_CHECKING:
    from downstream.protocols.finetune import FinetuneProtocol

MOMENTUM = 0.9


def build_optimizer(settings: FinetuneProtocol, network: Classifier) -> Optimizer:
    """The optimiser over the encoder and the head, which `set_learning_rate` tells apart.

    Biases and batch norms are not decayed.
    """
    groups = []
    for part, module in (("encoder", network.model.encoder), ("head", network.head)):
        parameters = list(module.parameters())
        groups += [
            {"part": part, "params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.decay},
            {"part": part, "params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
    if settings.optimizer == "sgd":
        return SGD(groups, lr=settings.peak_lr, momentum=MOMENTUM, nesterov=True)
    return AdamW(groups, lr=settings.peak_lr, fused=True)


def set_learning_rate(optimizer: Optimizer, settings: FinetuneProtocol, epoch: float) -> None:
    """Set what a step in the middle of which `epoch` epochs are over is taken with."""
    for group in optimizer.param_groups:
        begins = settings.freeze_epochs if group["part"] == "encoder" else 0
        group["lr"] = learning_rate(settings, epoch, begins)


def learning_rate(settings: FinetuneProtocol, epoch: float, begins: float = 0) -> float:
    """The learning rate `epoch` epochs into training, of parameters that are trained from `begins` on.

    It rises in a straight line over `warmup_epochs` and falls as half a cosine over all epochs.
    """
    if epoch < begins:
        return 0.0
    risen = min(1.0, (epoch - begins) / settings.warmup_epochs) if settings.warmup_epochs > 0 else 1.0
    return settings.peak_lr * risen * 0.5 * (1 + math.cos(math.pi * min(1.0, epoch / settings.epochs)))
