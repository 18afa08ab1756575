"""JSON as nobody writes it: values of the wrong kind, size and depth in the place of those expected."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from .mutations import NUMBERS

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS).map(lambda number: number),
    st.sampled_from(NUMBERS).map(lambda number: -number),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(["", "..", "/etc/passwd", "../../x", "\0", "\ud800", "torch", "npy", "os.system", "x" * 300]),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values in nested dictionaries and lists, the whole included."""
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*path, key))
    return found


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy of `value` with what is at `path` replaced."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


def without(value: Any, path: tuple[Any, ...]) -> Any:
    """A copy of `value` without what is at `path`."""
    if not path:
        return None
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = without(value[path[0]], path[1:])
    return copy


def variations(value: Any) -> st.SearchStrategy[Any]:
    """`value` with one to three of its parts replaced or left out."""

    @st.composite
    def draw_one(draw: st.DrawFn) -> Any:
        result = value
        for _ in range(draw(st.integers(1, 3))):
            path = draw(st.sampled_from(places(result)))
            result = without(result, path) if draw(st.booleans()) and path else changed(result, path, draw(VALUES))
        return result

    return draw_one()


def dump(value: Any) -> bytes:
    """JSON text, even of what has no place in it (NaN, lone surrogates)."""
    return json.dumps(value).encode("utf-8", "surrogatepass")
