"""What every pair loss offers: predictions compared with the target's projections."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass
class LossConfig:
    """Which loss; each has a configuration of its own below this one."""

    name: str = "byol"

    @classmethod
    def variant(cls, name: str) -> type[LossConfig]:
        """The configuration class of the loss called `name`.

        Raises:
            UsageError: if there is none, with the nearest name.
        """
        from byol_a.methods.losses import loss_entry

        return loss_entry(name)[0]


class PairLoss(nn.Module, ABC):
    """How far the predictions for one view are from the target's projections of the other."""

    def begin_step(self, step: int, total_steps: int) -> None:
        """Called before the forward pass of optimiser step `step`, counted from 0."""

    def replay_key(self, step: int) -> Hashable:
        """What tells apart steps at which the loss does different things."""
        return ()

    @abstractmethod
    def forward(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over the batch, and named numbers worth logging.

        Args:
            prediction: (B, P).
            target: (B, P), without gradient; row i belongs to row i of the predictions.

        Returns:
            The loss, a scalar; detached scalars by name.
        """
