"""Finding and reading recipes: by the name of one that comes with the package, or by a file's path."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from byol_a.config import nearest, read_yaml
from byol_a.errors import UsageError


def list_recipes(kind: str) -> dict[str, str]:
    """Names of the packaged recipes of a kind ("pretrain"), each with its first comment line."""
    found = {}
    for entry in sorted(_folder(kind).iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".yaml"):
            first = entry.read_text(encoding="utf-8").partition("\n")[0]
            found[entry.name.removesuffix(".yaml")] = first.lstrip("# ")
    return found


def recipe_path(kind: str, name: str) -> Path:
    """The file of a recipe given by packaged name or by path.

    Raises:
        UsageError: if there is no such recipe, with the nearest name.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"there is no recipe file {name}")
        return path
    known = list_recipes(kind)
    if name not in known:
        raise UsageError(f"there is no recipe {name!r}{nearest(name, known)}")
    return Path(str(_folder(kind) / f"{name}.yaml"))


def recipe_text(kind: str, name: str) -> str:
    """A recipe's YAML as it stands, comments included."""
    return recipe_path(kind, name).read_text(encoding="utf-8")


def read_recipe(kind: str, name: str) -> dict[str, Any]:
    """A recipe's keys and values."""
    return read_yaml(recipe_path(kind, name))


def _folder(kind: str) -> Any:
    return resources.files("recipes") / kind
