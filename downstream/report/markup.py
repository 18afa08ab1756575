"""HTML from Python: text is escaped unless it says that it is HTML, so that no name from a file can become markup."""

from __future__ import annotations

import base64
import gzip
import html
import json
from collections.abc import Iterable
from typing import Any

from byol_a.words import printable


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


EMPTY = Html("")
_VOID = frozenset({"br", "hr", "img", "input", "meta", "wbr"})


def escape(text: object) -> Html:
    """Text as HTML: markup is escaped, and so is whatever cannot be printed or is not UTF-8."""
    if isinstance(text, Html):
        return text
    return Html(html.escape(printable(str(text)), quote=True))


def tag(name: str, *children: object, **attributes: object) -> Html:
    """An element. `class_` gives `class`, `aria_label` `aria-label`; True stands alone, None and False are left out."""
    found = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        found.append(f" {attribute}" if value is True else f' {attribute}="{escape(value)}"')
    opening = f"<{name}{''.join(found)}>"
    return Html(opening) if name in _VOID else Html(f"{opening}{join(children)}</{name}>")


def join(parts: Iterable[object]) -> Html:
    """Parts after one another."""
    return Html("".join(escape(part) for part in parts))


def packed(value: Any) -> str:
    """JSON, compressed, in base64: small, and without a character that could end the element that holds it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode("ascii"), compresslevel=6, mtime=0)).decode("ascii")


def encoded(data: bytes) -> str:
    """Bytes in base64."""
    return base64.b64encode(data).decode("ascii")
