"""The two simplest predictors: one trained matrix, and nothing at all."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from byol_a.methods.predictors.base import Predictor, PredictorConfig


@dataclass
class LinearPredictorConfig(PredictorConfig):
    """A linear predictor needs no setting."""

    name: str = "linear"


class LinearPredictor(Predictor):
    """A trained square matrix with bias (an ablation of BYOL; Richemond et al. 2023 call it linear BYOL)."""

    def __init__(self, size: int, config: PredictorConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(size, size)

    def forward(self, projection: Tensor) -> Tensor:
        """(B, P) -> (B, P)."""
        prediction: Tensor = self.linear(projection)
        return prediction


@dataclass
class IdentityConfig(PredictorConfig):
    """No predictor needs no setting."""

    name: str = "none"


class IdentityPredictor(Predictor):
    """No predictor: the projection itself is the guess. BYOL collapses so (Grill et al. 2020, table 5)."""

    def __init__(self, size: int, config: PredictorConfig) -> None:
        super().__init__()

    def forward(self, projection: Tensor) -> Tensor:
        """(B, P) -> (B, P), unchanged."""
        return projection
