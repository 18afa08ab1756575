"""Predictors by name: what turns an online projection into a guess of the target's."""

from __future__ import annotations

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
from byol_a.methods.registry import entry, require_own_config

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
    return entry("predictor", name, PREDICTORS)


def create_predictor(config: PredictorConfig, size: int) -> Predictor:
    """The predictor that `config` describes, for projections of `size` numbers.

    Raises:
        UsageError: for an unknown name, or a name that is not the one of the configuration's class.
    """
    config_class, predictor_class = predictor_entry(config.name)
    require_own_config("predictor", config, config_class)
    predictor: Predictor = predictor_class(size, config)
    return predictor
