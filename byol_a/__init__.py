"""BYOL-A: audio representations without labels. Pre-train, embed, evaluate.

Names are imported when first used, so that `import byol_a` is instant and needs only what is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "BYOLA": "byol_a.model",
    "LogMel": "byol_a.frontend",
    "FrontendConfig": "byol_a.frontend",
    "NormStats": "byol_a.normalize",
    "StatsAccumulator": "byol_a.normalize",
    "RandomCrops": "byol_a.data.crops",
    "FileReport": "byol_a.data.report",
    "crop_statistics": "byol_a.data.stats",
    "find_audio": "byol_a.data.files",
    "read_audio": "byol_a.data.io",
    "create_encoder": "byol_a.encoders",
    "read_store": "byol_a.embed",
    "pretrain": "byol_a.training.pretrain",
    "ByolaError": "byol_a.errors",
    "UsageError": "byol_a.errors",
    "AudioError": "byol_a.errors",
}

if TYPE_CHECKING:
    from byol_a.data.crops import RandomCrops
    from byol_a.data.files import find_audio
    from byol_a.data.io import read_audio
    from byol_a.data.report import FileReport
    from byol_a.data.stats import crop_statistics
    from byol_a.embed import read_store
    from byol_a.encoders import create_encoder
    from byol_a.errors import AudioError, ByolaError, UsageError
    from byol_a.frontend import FrontendConfig, LogMel
    from byol_a.model import BYOLA
    from byol_a.normalize import NormStats, StatsAccumulator
    from byol_a.training.pretrain import pretrain

__all__ = [
    "BYOLA",
    "AudioError",
    "ByolaError",
    "FileReport",
    "FrontendConfig",
    "LogMel",
    "NormStats",
    "RandomCrops",
    "StatsAccumulator",
    "UsageError",
    "create_encoder",
    "crop_statistics",
    "find_audio",
    "pretrain",
    "read_audio",
    "read_store",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'byol_a' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
