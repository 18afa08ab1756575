"""Self-supervised methods: what turns views into a loss, and what is updated beside the optimiser."""

from __future__ import annotations

from byol_a.config import nearest
from byol_a.encoders.base import AudioEncoder
from byol_a.errors import UsageError
from byol_a.methods.base import Method, MethodConfig, StepOutput
from byol_a.methods.byol import BYOL, BYOLConfig
from byol_a.methods.byov import BYOV, BYOVConfig
from byol_a.methods.heads import HeadConfig
from byol_a.methods.registry import require_own_config
from byol_a.methods.tribyol import TriBYOL, TriBYOLConfig
from byol_a.plugins import import_from_here
from byol_a.words import one_line

METHODS: dict[str, type[Method]] = {"byol": BYOL, "tribyol": TriBYOL, "byov": BYOV}

__all__ = [
    "BYOL",
    "BYOV",
    "METHODS",
    "BYOLConfig",
    "BYOVConfig",
    "HeadConfig",
    "Method",
    "MethodConfig",
    "StepOutput",
    "TriBYOL",
    "TriBYOLConfig",
    "create_method",
    "method_class",
]


def create_method(config: MethodConfig, encoder: AudioEncoder) -> Method:
    """The method that `config` names and configures, around `encoder`.

    Raises:
        UsageError: for an unknown name, or a name that is not the one of the configuration's class.
    """
    method = method_class(config.name)
    require_own_config("method", config, method.config_class)
    return method(encoder, config)


def method_class(name: str) -> type[Method]:
    """The method called `name`: of `METHODS`, or `module:Class`, the module found from the working directory too.

    Raises:
        UsageError: if there is no such method, or the class is none.
    """
    if name in METHODS:
        return METHODS[name]
    module_name, colon, class_name = name.partition(":")
    if not colon:
        raise UsageError(f"there is no method {name!r}{nearest(name, METHODS)} (a method of your own is module:Class)")
    try:
        found = getattr(import_from_here(module_name), class_name)
    except Exception as error:  # whatever a module does when it is imported
        raise UsageError(f"cannot load the method {name}: {type(error).__name__}: {one_line(error)[:200]}") from error
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise UsageError(f"the method {name} is no subclass of byol_a.methods.Method")
    return found
