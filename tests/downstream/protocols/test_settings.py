"""Settings that cannot be: refused when the protocol is made, in a sentence that names them."""

from __future__ import annotations

from typing import Any

import pytest

from byol_a.errors import UsageError
from downstream.protocols import PROTOCOLS, make_protocol


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_usual_settings_keep_every_rule(name: str) -> None:
    assert make_protocol(name).name == name


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("default", {"valid_fraction": 0.0}, "valid_fraction must be above 0 and at most 0.5, not 0.0"),
        ("default", {"valid_fraction": 0.8}, "valid_fraction must be above 0 and at most 0.5, not 0.8"),
        ("default", {"C_grid": []}, r"C_grid must be one or more numbers, each above 0, not \(\)"),
        ("default", {"C_grid": [0.0, 1.0]}, r"C_grid must be .*, not \(0.0, 1.0\)"),
        ("default", {"k": 0}, "k must be at least 1, not 0"),
        ("default", {"seeds": []}, r"seeds must be one or more numbers, each at least 0, not \(\)"),
        ("default", {"resamples": 0}, "resamples must be at least 1, not 0"),
        ("evar", {"lr": -1.0}, "lr must be above 0, not -1.0"),
        ("evar", {"lr": float("nan")}, "lr must be above 0, not nan"),
        ("evar", {"max_epochs": 0}, "max_epochs must be at least 1, not 0"),
        ("evar", {"patience": 0}, "patience must be at least 1, not 0"),
        ("evar", {"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ("evar", {"weight_decay": -1.0}, "weight_decay must be at least 0, not -1.0"),
        ("hear", {"grid_points": 0}, "grid_points must be at least 1, not 0"),
        ("hear", {"hidden_layers": [3]}, r"hidden_layers must be one or more numbers, each 0, 1 or 2, not \(3,\)"),
        ("hear", {"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
        ("hear", {"lrs": []}, r"lrs must be one or more numbers, each above 0, not \(\)"),
        ("few-shot", {"C": 0.0}, "C must be above 0, not 0.0"),
        ("few-shot", {"shots": []}, r"shots must be one or more numbers, each at least 1, not \(\)"),
        ("few-shot", {"shots": [0]}, r"shots must be one or more numbers, each at least 1, not \(0,\)"),
        ("few-shot", {"repeats": 0}, "repeats must be at least 1, not 0"),
        ("few-shot", {"seed": -1}, "seed must be at least 0, not -1"),
        ("label-fraction", {"fractions": []}, r"fractions must be one or more numbers, .*, not \(\)"),
        ("label-fraction", {"fractions": [1.5]}, r"each above 0 and at most 1, not \(1.5,\)"),
        ("label-fraction", {"fractions": [0.0]}, r"each above 0 and at most 1, not \(0.0,\)"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(name: str, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=f"^protocol {name}: .*{sentence}$"):
        make_protocol(name, settings)
