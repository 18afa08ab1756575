"""BYOL's own predictor: a perceptron with one hidden layer, trained with the rest (Grill et al. 2020, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from byol_a.encoders.norms import NormConfig
from byol_a.errors import UsageError
from byol_a.methods.heads import mlp_head
from byol_a.methods.predictors.base import Predictor, PredictorConfig


@dataclass
class MLPPredictorConfig(PredictorConfig):
    """`hidden` units, and the norm layer between the two linear ones."""

    name: str = "mlp"
    hidden: int = 4096
    norm: NormConfig = field(default_factory=NormConfig)

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise UsageError(f"method.predictor.hidden must be at least 1, not {self.hidden}")


class MLPPredictor(Predictor):
    """Linear, norm, ReLU, Linear."""

    def __init__(self, size: int, config: MLPPredictorConfig) -> None:
        super().__init__()
        self.head = mlp_head(size, config.hidden, size, config.norm)
        self.register_load_state_dict_pre_hook(_rename_layers)

    def forward(self, projection: Tensor) -> Tensor:
        """(B, P) -> (B, P)."""
        prediction: Tensor = self.head(projection)
        return prediction


def _rename_layers(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Checkpoints of earlier versions have the head's layers (`0.weight`) where the head is now (`head.0.weight`)."""
    for key in [key for key in state if key.startswith(prefix) and key[len(prefix) :].partition(".")[0].isdigit()]:
        state[f"{prefix}head.{key.removeprefix(prefix)}"] = state.pop(key)
