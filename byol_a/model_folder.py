"""A model's folder as far as it can be looked at without torch: where it is, whether it is one, its config.json."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from byol_a.errors import ByolaError, UsageError

FORMAT, FORMAT_VERSION = "byol-a", 1
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


def local_folder(name: str | Path) -> Path | None:
    """What is at the path `name`; None where nothing is and the name may be a hub id (`"name/model"`).

    Raises:
        UsageError: if nothing is there and it can be no hub id either.
    """
    folder = Path(name)
    if folder.exists():
        return folder
    if isinstance(name, str) and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        return None
    raise UsageError(f"there is no model folder {name}")


def check_model(name: str | Path) -> None:
    """See that `name` may be a model before torch is imported for it: a model folder, or a hub id.

    Raises:
        UsageError: if it is neither.
        ByolaError: if the folder's config.json is damaged or from a newer format.
    """
    folder = local_folder(name)
    if folder is not None:
        read_config(folder)


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a model folder, which must have weights as well.

    Raises:
        UsageError: if it is no model folder.
        ByolaError: if config.json is damaged or from a newer format.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise UsageError(f"{folder} is not a model folder: it has no {name}")
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ByolaError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise UsageError(f'{path} does not describe a byol-a model (no "format": "{FORMAT}" in it)')
    if config.get("format_version") != FORMAT_VERSION:
        raise ByolaError(
            f"{path} has format version {config.get('format_version')}, and this byol-a reads version "
            f"{FORMAT_VERSION}; install a byol-a that is as new as the model"
        )
    for key, kind in (("licence", str), ("provenance", dict)):
        if not isinstance(config.get(key), kind | None):
            raise ByolaError(f"{path} is damaged: its {key} is {str(config[key])[:50]!r}")
    return config
