"""Errors that end a command with one sentence, and imports that are asked for by name."""

from __future__ import annotations

import importlib
from types import ModuleType


class ByolaError(Exception):
    """Something failed; the message is one sentence saying what, where and what to do. Exit code 1."""

    exit_code = 1


class UsageError(ByolaError):
    """The caller asked for something that cannot be done as asked. Exit code 2."""

    exit_code = 2


class AudioError(ByolaError):
    """An audio file cannot be used. `reason` is short enough for a report's column."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[AudioError], tuple[str, str]]:
        # Exceptions pickle by their args; a data worker must be able to send this one home.
        return AudioError, (self.path, self.reason)


class MissingPackageError(ByolaError):
    """A feature needs a package that is not installed."""


def require(module: str, feature: str, install: str | None = None) -> ModuleType:
    """Import `module`, or say which feature needs it and how to install it.

    Args:
        module: dotted module name, for example `"soundfile"`.
        feature: what needs it, as the subject of the sentence ("reading audio files").
        install: what to give to `pip install`; the module's top name by default.

    Raises:
        MissingPackageError: if the module cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = install or module.partition(".")[0]
        raise MissingPackageError(
            f"{feature} needs the package {package!r}, which cannot be imported here ({error}); "
            f"install it with: pip install {package!r}"
        ) from error
