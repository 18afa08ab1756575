"""The ways to turn embeddings into scores, by name; each is a frozen dataclass of its settings."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, cast

from byol_a.config import build, nearest
from byol_a.errors import UsageError
from downstream.protocols.base import EvaluationProtocol, ProbeResult, one_hot, scored

PROTOCOLS = {
    "default": "downstream.protocols.default:DefaultProtocol",
    "evar": "downstream.protocols.evar:EvarProtocol",
    "hear": "downstream.protocols.hear:HearProtocol",
    "finetune": "downstream.protocols.finetune:FinetuneProtocol",
    "few-shot": "downstream.protocols.few_shot:FewShotProtocol",
    "label-fraction": "downstream.protocols.label_fraction:LabelFractionProtocol",
}

__all__ = ["PROTOCOLS", "EvaluationProtocol", "ProbeResult", "make_protocol", "one_hot", "scored"]


def make_protocol(name: str, settings: Mapping[str, Any] | None = None) -> EvaluationProtocol:
    """The protocol `name` with some settings changed.

    Raises:
        UsageError: for an unknown protocol or setting, with the nearest name, or a value of the wrong type.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"there is no protocol {name!r}{nearest(name, PROTOCOLS)}")
    module, _, attribute = PROTOCOLS[name].partition(":")
    protocol_class = getattr(importlib.import_module(module), attribute)
    return cast("EvaluationProtocol", build(protocol_class, settings or {}, f"protocol {name}"))
