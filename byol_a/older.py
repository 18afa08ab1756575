"""Settings as runs and recipes of earlier versions have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def with_present_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run, with those called otherwise before under the names they have now.

    `method.predictor_hidden: N` was `method.predictor: {name: mlp, hidden: N}`.
    """
    result = dict(values)
    method = result.get("method")
    if isinstance(method, Mapping) and "predictor_hidden" in method and "predictor" not in method:
        method = dict(method)
        method["predictor"] = {"name": "mlp", "hidden": method.pop("predictor_hidden")}
        result["method"] = method
    return result
