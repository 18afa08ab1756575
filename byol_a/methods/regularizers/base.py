"""What every regulariser offers: a penalty on the online networks or on what they make of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn


class Regularizer(nn.Module, ABC):
    """A scalar that is added to the loss, times `weight`.

    Attributes:
        recordable: whether it does the same at every step, so that a GPU may record steps with it and replay them; a
            class that does must say so.
    """

    recordable: ClassVar[bool] = False

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def begin_step(self, step: int, total_steps: int) -> None:
        """Called before the forward pass of optimiser step `step`, counted from 0."""

    @abstractmethod
    def forward(self, networks: Sequence[nn.Module], projections: Sequence[Tensor]) -> Tensor:
        """The penalty before weighting, a scalar.

        Args:
            networks: the trained networks: encoder with projector, and predictor.
            projections: (B, P) of each view, with gradient.
        """
