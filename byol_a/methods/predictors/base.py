"""What every predictor offers: it turns online projections into guesses of the target's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass
class PredictorConfig:
    """Which predictor; each has a configuration of its own below this one."""

    name: str = "mlp"

    @classmethod
    def variant(cls, name: str) -> type[PredictorConfig]:
        """The configuration class of the predictor called `name`.

        Raises:
            UsageError: if there is none, with the nearest name.
        """
        from byol_a.methods.predictors import predictor_entry

        return predictor_entry(name)[0]


class Predictor(nn.Module, ABC):
    """Online projections (B, P) to predictions (B, P) of the target's projections.

    A subclass is made with (size, config): P, and an instance of its configuration's class. What it keeps from step to
    step is in its state dict, so that a run resumes exactly.
    """

    def begin_step(self) -> None:
        """Called before the first forward pass of each optimiser step; a step may have several, one for each part."""

    def fit(self, online: Tensor, target: Tensor) -> None:
        """Learn from projections before predicting them, for predictors that are computed, not trained.

        Args:
            online, target: (N, P), the rows of all pairs that a forward pass compares, without gradient.
        """

    @abstractmethod
    def forward(self, projection: Tensor) -> Tensor:
        """(B, P) -> (B, P)."""
