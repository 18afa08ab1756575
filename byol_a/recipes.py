"""Finding and reading recipes: by the name of one that comes with the package, or by a file's path."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from byol_a.config import nearest, read_yaml, section
from byol_a.errors import UsageError
from byol_a.older import with_present_names
from byol_a.words import one_line

KINDS = {"pretrain": "byol-a pretrain --recipe NAME", "evaluate": "byol-a evaluate MODEL --task NAME --data FOLDER"}
"""The kinds of recipes, and the command that takes each."""


def list_recipes(kind: str) -> dict[str, str]:
    """Names of the packaged recipes of a kind (of `KINDS`), each with its first comment line."""
    found = {}
    for entry in sorted(_folder(kind).iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".yaml"):
            first = entry.read_text(encoding="utf-8").partition("\n")[0]
            found[entry.name.removesuffix(".yaml")] = first.lstrip("# ")
    return found


def recipe_path(kind: str | None, name: str) -> Path:
    """The file of a recipe given by packaged name or by path.

    Args:
        kind: of `KINDS`; None for any: no two packaged recipes have the same name.

    Raises:
        UsageError: if there is no such recipe, with the nearest name.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"{name} is a folder" if path.is_dir() else f"there is no recipe file {name}")
        return path
    known = {recipe: owner for owner in ([kind] if kind else KINDS) for recipe in list_recipes(owner)}
    if name not in known:
        raise UsageError(f"there is no recipe {name!r}{nearest(name, known)}")
    return Path(str(_folder(known[name]) / f"{name}.yaml"))


def recipe_text(kind: str | None, name: str) -> str:
    """A recipe's YAML as it stands, comments included; arguments and errors as of `recipe_path`."""
    path = recipe_path(kind, name)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text (UTF-8), so it is no recipe") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {one_line(error)}") from error


def read_recipe(kind: str, name: str) -> dict[str, Any]:
    """A recipe's keys and values, merged over those of the recipe that it `extends`, if it names one.

    Sections are merged key by key, but one that has a `name` replaces the whole section: another encoder or predictor
    has other options. `extends` takes a packaged recipe's name, or a file's path relative to the recipe.

    Raises:
        UsageError: if there is no such recipe, or recipes extend each other in a circle.
    """
    return _read(recipe_path(kind, name), kind, ())


def _read(path: Path, kind: str, below: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in below:
        by_way = "" if path.resolve() == below[-1] else f", by way of {below[-1].name}"
        raise UsageError(f"{path} extends itself{by_way}")
    values = with_present_names(read_yaml(path))
    base = values.pop("extends", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise UsageError(f"{path}: extends cannot be {base!r}: the name or the file of a recipe is expected")
    beside = path.parent / base
    found = beside if base.endswith((".yaml", ".yml")) and beside.is_file() else recipe_path(kind, base)
    return _merged(_read(found, kind, (*below, path.resolve())), values)


def _merged(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in values.items():
        before = base.get(key)
        if isinstance(value, dict) and isinstance(before, (dict, str)) and "name" not in value:
            value = _merged(section(before), value)
        result[key] = value
    return result


def _folder(kind: str) -> Any:
    return resources.files("recipes") / kind
