"""Predictors by name, and the trained ones."""

from __future__ import annotations

import pytest
import torch

from byol_a.config import build, to_dict
from byol_a.encoders.norms import NormConfig
from byol_a.errors import UsageError
from byol_a.methods.byol import BYOLConfig
from byol_a.methods.predictors import PREDICTORS, MLPPredictorConfig, PredictorConfig, create_predictor
from byol_a.methods.predictors.closed_form import NewtonSchulzConfig, VisserConfig


@pytest.mark.parametrize("name", list(PREDICTORS))
def test_every_predictor_by_its_name_alone(name: str) -> None:
    config = build(BYOLConfig, {"predictor": name}, "test").predictor
    assert type(config) is PREDICTORS[name][0]
    assert config.name == name
    assert build(BYOLConfig, {"predictor": to_dict(config)}, "test").predictor == config
    predictor = create_predictor(config, 8)
    projection = torch.randn(4, 8)
    predictor.fit(projection, projection)
    prediction = predictor(projection)
    assert prediction.shape == (4, 8)
    assert prediction.isfinite().all()
    assert torch.equal(prediction, projection) == (name == "none")


def test_a_recipe_sets_what_its_predictor_has() -> None:
    config = build(BYOLConfig, {"predictor": {"name": "newton_schulz", "ridge": 0.1, "iterations": 5}}, "test")
    assert config.predictor == NewtonSchulzConfig(ridge=0.1, iterations=5)
    with pytest.raises(UsageError, match=r"unknown key 'predictor\.eta'"):
        build(BYOLConfig, {"predictor": {"name": "stiefel", "eta": 0.1}}, "test")


def test_an_unknown_name_is_met_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'newton_shulz'; did you mean 'newton_schulz'\?"):
        PredictorConfig.variant("newton_shulz")


def test_a_name_must_fit_its_configuration() -> None:
    with pytest.raises(UsageError, match="'neumann' is configured by NeumannConfig, not by VisserConfig"):
        create_predictor(VisserConfig(name="neumann"), 8)


def test_the_mlp_is_byols_and_takes_another_norm() -> None:
    kinds = [type(module).__name__ for module in create_predictor(MLPPredictorConfig(hidden=6), 4).modules()]
    assert kinds == ["MLPPredictor", "Head", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    other = create_predictor(MLPPredictorConfig(hidden=6, norm=NormConfig(kind="layer")), 4)
    assert not any(isinstance(module, torch.nn.BatchNorm1d) for module in other.modules())
    with pytest.raises(UsageError, match=r"method\.predictor\.hidden"):
        MLPPredictorConfig(hidden=0)


def test_the_mlp_takes_checkpoints_of_earlier_versions() -> None:
    one, other = (create_predictor(MLPPredictorConfig(hidden=6), 4) for _ in range(2))
    earlier = {f"predictor.{name.removeprefix('head.')}": value for name, value in one.state_dict().items()}
    torch.nn.ModuleDict({"predictor": other}).load_state_dict(earlier)
    assert all(torch.equal(value, one.state_dict()[name]) for name, value in other.state_dict().items())


def test_the_linear_one_is_a_square_matrix_with_bias() -> None:
    predictor = create_predictor(PREDICTORS["linear"][0](name="linear"), 3)
    assert [tuple(parameter.shape) for parameter in predictor.parameters()] == [(3, 3), (3,)]
