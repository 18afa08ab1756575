"""What settings of protocols may be: one rule for a name, whichever protocol has it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from byol_a.errors import UsageError

Rule = tuple[str, Callable[[Any], bool]]
"""What a setting must be, in words, and whether a value is that."""


def at_least(least: float) -> Rule:
    return f"at least {least:g}", lambda value: least <= value < math.inf


def each(rule: Rule) -> Rule:
    words, kept = rule
    return f"one or more numbers, each {words}", lambda values: len(values) > 0 and all(map(kept, values))


ABOVE_0: Rule = "above 0", lambda value: 0 < value < math.inf
BELOW_1: Rule = "at least 0 and below 1", lambda value: 0 <= value < 1
RULES: dict[str, Rule] = {
    "C": ABOVE_0,
    "C_grid": each(ABOVE_0),
    "batch_size": at_least(1),
    "dropout": BELOW_1,
    "epochs": at_least(1),
    "fractions": each(("above 0 and at most 1", lambda fraction: 0 < fraction <= 1)),
    "freeze_epochs": at_least(0),
    "grid_points": at_least(1),
    "head_dropout": BELOW_1,
    "hidden_dim": at_least(1),
    "hidden_layers": each(("0, 1 or 2", lambda layers: layers in (0, 1, 2))),
    "k": at_least(1),
    "lr": ABOVE_0,
    "lrs": each(ABOVE_0),
    "max_epochs": at_least(1),
    "memory_gb": at_least(0),
    "mixup": ("from 0 to 1", lambda share: 0 <= share <= 1),
    "patience": at_least(1),
    "repeats": at_least(1),
    "resamples": at_least(1),
    "seed": at_least(0),
    "seeds": each(at_least(0)),
    "shots": each(at_least(1)),
    "unit_seconds": ABOVE_0,
    "valid_fraction": ("above 0 and at most 0.5", lambda fraction: 0 < fraction <= 0.5),
    "warmup_epochs": at_least(0),
    "weight_decay": at_least(0),
}


def check_settings(protocol: Any, **own: Rule) -> None:
    """Refuse a setting that breaks its rule; None is left to those that may be None.

    Args:
        own: rules of this protocol alone, in place of the usual ones.

    Raises:
        UsageError: with the protocol, the setting, its rule and the value.
    """
    for setting, (words, kept) in (RULES | own).items():
        value = getattr(protocol, setting, None)
        if value is not None and not kept(value):
            raise UsageError(f"protocol {protocol.name}: {setting} must be {words}, not {value}")
