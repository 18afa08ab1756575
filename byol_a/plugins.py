"""Modules of a user's own: a method of a recipe, an encoder that is to be scored."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType


def import_from_here(module_name: str) -> ModuleType:
    """Import a module that may lie in the working directory, which stays on the path for what it imports later.

    Raises:
        ImportError: if the module ends the interpreter, as a script without a guard does.
        Exception: whatever else happens while it is imported.
    """
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(module_name)
    except SystemExit as error:
        raise ImportError("it ends the interpreter when it is imported (SystemExit)") from error
