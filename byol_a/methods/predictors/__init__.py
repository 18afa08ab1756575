"""Predictors by name: what turns an online projection into a guess of the target's."""

from __future__ import annotations

from byol_a.config import nearest
from byol_a.errors import UsageError
from byol_a.methods.predictors.base import Predictor, PredictorConfig
from byol_a.methods.predictors.closed_form import (
    DirectCopyConfig,
    DirectCopyPredictor,
    LeastSquaresConfig,
    LeastSquaresPredictor,
    NeumannConfig,
    NeumannPredictor,
    NewtonSchulz2Config,
    NewtonSchulz2Predictor,
    NewtonSchulzConfig,
    NewtonSchulzPredictor,
    StiefelConfig,
    StiefelPredictor,
    VisserConfig,
    VisserPredictor,
)
from byol_a.methods.predictors.linear import IdentityConfig, IdentityPredictor, LinearPredictor, LinearPredictorConfig
from byol_a.methods.predictors.mlp import MLPPredictor, MLPPredictorConfig

__all__ = ["PREDICTORS", "MLPPredictorConfig", "Predictor", "PredictorConfig", "create_predictor", "predictor_entry"]

PREDICTORS: dict[str, tuple[type[PredictorConfig], type[Predictor]]] = {
    "mlp": (MLPPredictorConfig, MLPPredictor),
    "linear": (LinearPredictorConfig, LinearPredictor),
    "none": (IdentityConfig, IdentityPredictor),
    "neumann": (NeumannConfig, NeumannPredictor),
    "visser": (VisserConfig, VisserPredictor),
    "newton_schulz": (NewtonSchulzConfig, NewtonSchulzPredictor),
    "newton_schulz2": (NewtonSchulz2Config, NewtonSchulz2Predictor),
    "stiefel": (StiefelConfig, StiefelPredictor),
    "direct_copy": (DirectCopyConfig, DirectCopyPredictor),
    "least_squares": (LeastSquaresConfig, LeastSquaresPredictor),
}


def predictor_entry(name: str) -> tuple[type[PredictorConfig], type[Predictor]]:
    """The configuration class and the class of the predictor called `name`.

    Raises:
        UsageError: if there is none, with the nearest name.
    """
    if name not in PREDICTORS:
        raise UsageError(f"there is no predictor {name!r}{nearest(name, PREDICTORS)}")
    return PREDICTORS[name]


def create_predictor(config: PredictorConfig, size: int) -> Predictor:
    """The predictor that `config` describes, for projections of `size` numbers.

    Raises:
        UsageError: for an unknown name, or a name that is not the one of the configuration's class.
    """
    config_class, predictor_class = predictor_entry(config.name)
    if not isinstance(config, config_class):
        raise UsageError(
            f"the predictor {config.name!r} is configured by {config_class.__name__}, not by {type(config).__name__}"
        )
    predictor: Predictor = predictor_class(size, config)
    return predictor
