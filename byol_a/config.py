"""Typed configuration: YAML and KEY=VALUE read into nested dataclasses, errors named with their nearest neighbour.

The dataclasses live beside what they configure; this file only knows how to read and check any of them.
"""

from __future__ import annotations

import difflib
import functools
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from byol_a.errors import UsageError
from byol_a.words import one_line

Config = TypeVar("Config")
_MOST_VALUES = 10_000


def build(cls: type[Config], values: Mapping[str, Any], source: str) -> Config:
    """Make the dataclass `cls` from nested `values`, converting where nothing is lost ("3e-4" to a float).

    A field whose dataclass has a class method `variant` becomes an instance of the class that `variant` gives for the
    value's `name`, which has keys of its own: `{name: newton_schulz, ridge: 0.3}`. A bare word stands for that
    variant's defaults.

    Args:
        source: where the values come from ("recipe byola_v2"), for the error's sentence.

    Raises:
        UsageError: for an unknown key (with the nearest known one) or a value of the wrong type, naming the
            key by its dotted path.
    """
    return typing.cast("Config", _build(cls, values, source, root=cls, path=""))


def _build(cls: Any, values: Mapping[str, Any], source: str, root: Any, path: str) -> Any:
    """`build` for a part of the tree `root`; `path` leads to it, with a dot at its end."""
    from pydantic import ValidationError

    _refuse_unknown_keys(cls, values, source, root, path)
    kinds = typing.get_type_hints(cls)
    values = {key: _with_variants(kinds[key], value, source, root, path + key) for key, value in values.items()}
    try:
        return _adapter(cls).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = path + ".".join(str(part) for part in first["loc"] if part in _key_names(cls))
        expected = "a section of keys is expected" if first["type"] == "dataclass_type" else _lower_first(first["msg"])
        raise UsageError(
            f"{source}: {where or 'the configuration'} cannot be {first['input']!r}: {expected}"
        ) from error


def _with_variants(kind: Any, value: Any, source: str, root: Any, path: str) -> Any:
    """`value` with every section below it that has variants built already, as its own kind of dataclass."""
    for member in _dataclasses_in(kind):
        if not hasattr(member, "variant"):
            if isinstance(value, Mapping):
                kinds = typing.get_type_hints(member)
                value = {
                    key: _with_variants(kinds[key], part, source, root, f"{path}.{key}") for key, part in value.items()
                }
        elif isinstance(value, str | Mapping):
            values = {"name": value} if isinstance(value, str) else dict(value)
            name = values.setdefault("name", member().name)
            if not isinstance(name, str):
                raise UsageError(f"{source}: {path}.name cannot be {name!r}: a name is expected")
            try:
                variant = member.variant(name)
            except UsageError as error:
                raise UsageError(f"{source}: {path}: {error}") from error
            return _build(variant, values, source, root, f"{path}.")
    return value


@functools.cache
def _adapter(cls: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping."""
    try:
        values = _parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text (UTF-8), so it is no YAML file") from error
    except ValueError as error:
        raise UsageError(f"{path} is not valid YAML: {one_line(error)[:300]}") from error
    if values is not None and not isinstance(values, dict):
        raise UsageError(f"{path} must hold a mapping of keys to values, not a {type(values).__name__}")
    return values or {}


def apply_overrides(values: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """`values` with each `dotted.key=value` set; the value is read as YAML (`null`, `3`, `[0.6, 1.5]`).

    A key inside a bare word belongs to what the word names: `method=tribyol method.tau=0.9`.
    """
    result = _deep_copy(values)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise UsageError(f"{override!r} is not an override; write it as KEY=VALUE, for example optimizer.lr=1e-3")
        try:
            value = _parse_yaml(text) if text else ""
        except ValueError as error:
            raise UsageError(f"the value of {override!r} is not valid YAML") from error
        *parents, last = key.split(".")
        node = result
        for parent in parents:
            node[parent] = node = section(node.get(parent))
        node[last] = value
    return result


def section(value: Any) -> dict[str, Any]:
    """What a key leads into: a bare word is the name of what has the keys, anything that is no mapping has none yet."""
    if isinstance(value, str):
        return {"name": value}
    return value if isinstance(value, dict) else {}


def _parse_yaml(text: str) -> Any:
    """The value that YAML describes: plain numbers, texts, lists and mappings, and no more than fit on some pages.

    Raises:
        ValueError: for anything else.
    """
    import yaml

    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ArithmeticError, AttributeError, LookupError, TypeError) as error:
        raise ValueError(str(error)) from error
    # References to parts that refer to other parts, and so on, say more in ten lines than fits into any memory.
    left, seen = [value], 1
    while left:
        item = left.pop()
        parts = item.values() if isinstance(item, dict) else item if isinstance(item, (list, set, tuple)) else ()
        seen += len(parts)
        if seen > _MOST_VALUES:
            raise ValueError(f"it stands for more than {_MOST_VALUES} values")
        left += parts
    return value


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as plain nested dicts and lists, fit for YAML and JSON."""
    return typing.cast("dict[str, Any]", _plain(asdict(config)))


def to_yaml(config: Any) -> str:
    """A dataclass as YAML, keys in the order they are declared."""
    import yaml

    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def differences(before: Any, after: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Dotted path, old and new value of the leaves in which two nested dictionaries differ, in the paths' order."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            change
            for key in sorted({*before, *after})
            for change in differences(before.get(key), after.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if before == after else [(path, before, after)]


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: `; did you mean 'x'?` or the list of what there is."""
    names = list(known)
    lowered = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {lowered[close[0]]!r}?"
    return f"; known: {', '.join(names)}"


def _refuse_unknown_keys(cls: Any, values: Any, source: str, root: Any, path: str = "") -> None:
    if not is_dataclass(cls) or not isinstance(values, Mapping):
        return
    kinds = typing.get_type_hints(cls)
    names = [field.name for field in fields(cls) if field.init]
    for key, value in values.items():
        if key not in names:
            hint = nearest(str(key), names)
            if "did you mean" not in hint:
                hint = _of_another_variant(cls, key, values, path) or _elsewhere(str(key), root) or hint
            raise UsageError(f"{source}: unknown key {path + str(key)!r}{hint}")
        if isinstance(value, bool) and bool not in _members(kinds[key]) and {int, float} & _members(kinds[key]):
            raise UsageError(f"{source}: {path + str(key)} cannot be {str(value).lower()}: a number is expected")
        for kind in _dataclasses_in(kinds[key]):
            if not hasattr(kind, "variant"):  # its keys depend on the variant, and are looked at when that is built
                _refuse_unknown_keys(kind, value, source, root, f"{path}{key}.")


def _of_another_variant(cls: Any, key: Any, values: Mapping[str, Any], path: str) -> str:
    """What to write where a section got another name and still has a setting of the default variant."""
    default = next((kind for kind in reversed(cls.__mro__) if hasattr(kind, "variant")), None)
    if not path or default is None or key not in {field.name for field in fields(default.variant(default().name))}:
        return ""
    choice = f"{path[:-1]}={values['name']}"
    return f", which {values['name']!r} does not have; write {choice} to leave the settings of another one behind"


def _elsewhere(key: str, root: Any) -> str:
    """Where in the whole tree of dataclasses a key that somebody put into the wrong section lives, if anywhere."""
    paths = _leaf_paths(root)
    close = difflib.get_close_matches(key.lower(), [path.rpartition(".")[2] for path in paths], n=1, cutoff=0.75)
    if not close:
        return ""
    return f"; did you mean {next(path for path in paths if path.rpartition('.')[2] == close[0])!r}?"


@functools.cache
def _leaf_paths(cls: Any, prefix: str = "") -> list[str]:
    paths: list[str] = []
    for name, kind in typing.get_type_hints(cls).items():
        nested = [
            member.variant(member().name) if hasattr(member, "variant") else member for member in _dataclasses_in(kind)
        ]
        paths.append(prefix + name)
        for inner in nested:
            paths += _leaf_paths(inner, f"{prefix}{name}.")
    return paths


def _key_names(cls: Any) -> set[str]:
    return {part for path in _leaf_paths(cls) for part in path.split(".")}


def _dataclasses_in(kind: Any) -> list[Any]:
    """The dataclasses a type annotation allows: itself, or members of a union such as `MixupConfig | None`."""
    return [member for member in _members(kind) if is_dataclass(member)]


def _members(kind: Any) -> set[Any]:
    """The members of a union; of any other annotation, itself."""
    return set(typing.get_args(kind)) if typing.get_origin(kind) in (typing.Union, types.UnionType) else {kind}


def _deep_copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _deep_copy(value) if isinstance(value, Mapping) else value for key, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
