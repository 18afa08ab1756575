"""How frames over time become one vector: the choices, and the check of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

from byol_a.errors import UsageError

TimePooling: TypeAlias = Literal["mean", "max", "mean+max"]
Pooling: TypeAlias = Literal["model", TimePooling]
"""`"mean+max"` is the sum of both, `"model"` what the encoder does by itself."""

TIME_POOLINGS: tuple[str, ...] = get_args(TimePooling)
POOLINGS: tuple[str, ...] = get_args(Pooling)


def check_pooling(pooling: str, choices: Sequence[str] = POOLINGS) -> None:
    """Raise a `UsageError` for an unknown pooling."""
    if pooling not in choices:
        raise UsageError(f"pooling is one of {', '.join(choices)}, not {pooling!r}")
