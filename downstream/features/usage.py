"""Whose rows a folder of the cache holds, and when they were used; those that nobody can use any more are removed.

Rows are kept under the version of byol-a that made them, too: after an upgrade the old ones are found by nobody.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from byol_a import __version__
from byol_a.files import write_json

ABOUT = "about.json"
UNUSED_SECONDS = 30 * 24 * 3600


def describe(folder: Path, model: str) -> None:
    """Say in a folder of rows, unless it says so already, what version and which model they are of.

    Raises:
        OSError: if it cannot be written.
    """
    if not (folder / ABOUT).exists():
        write_json(folder / ABOUT, {"version": __version__, "model": model})


def mark_used(folder: Path) -> None:
    """Note that rows of the folder, if there are any, were used now: by the time of its description."""
    with suppress(OSError):
        os.utime(folder / ABOUT)


@cache  # once in a process: it looks into every folder
def remove_unused(rows: Path) -> None:
    """Remove the rows of other versions that were not used for 30 days.

    Other installations may share the cache: what they used lately stays. Should one begin to use a folder that is
    just being removed, it makes those rows again.
    """
    with suppress(OSError):
        for folder in list(rows.iterdir()):
            if _version(folder) != __version__ and time.time() - _last_used(folder) > UNUSED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _version(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / ABOUT).read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _last_used(folder: Path) -> float:
    """When rows were read or written, in seconds since 1970."""
    about = folder / ABOUT
    return max((path.stat().st_mtime for path in (folder, about) if path.exists()), default=time.time())
