"""Methods and their pieces by name, each with the class of its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from byol_a.config import nearest
from byol_a.errors import UsageError

Entry = TypeVar("Entry")


def entry(kind: str, name: str, known: Mapping[str, Entry]) -> Entry:
    """What is called `name` among the `known`.

    Raises:
        UsageError: if nothing is, with the nearest name; `kind` ("loss") says what was looked for.
    """
    if name not in known:
        raise UsageError(f"there is no {kind} {name!r}{nearest(name, known)}")
    return known[name]


def require_own_config(kind: str, config: Any, config_class: type[Any]) -> None:
    """See that a configuration is of the class that goes with its name.

    Raises:
        UsageError: if it is another one's.
    """
    if not isinstance(config, config_class):
        raise UsageError(
            f"the {kind} {config.name!r} is configured by {config_class.__name__}, not by {type(config).__name__}"
        )
