"""What is asked of every task, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from downstream.entrants import Controls
from downstream.features import Layer, Pooling
from downstream.protocols import EvaluationProtocol
from downstream.suites import FoundTask

if TYPE_CHECKING:
    from byol_a.kernels import Fast


@dataclass(frozen=True)
class Plan:
    """What is asked of every task.

    Attributes:
        models: names as `byol_a evaluate` takes them.
        protocols_for: from a task's own settings, by the protocol's name, to the protocols that score it.
        cache: folder of embeddings; None keeps none.
        fast: whether clips are embedded by kernels, see `BYOLA.use_fast`.
        splits: the user's own divisions, by the task's name.
    """

    models: tuple[str, ...]
    protocols_for: Callable[[Mapping[str, Mapping[str, Any]]], list[EvaluationProtocol]]
    out: Path
    controls: Controls
    cache: Path | None
    device: str
    batch_size: int
    pooling: Pooling
    layer: Layer
    fast: Fast = "auto"
    splits: Mapping[str, Path] = field(default_factory=dict)


@dataclass
class Account:
    """What became of one task: how many cells were there already, were made, or failed and why."""

    found: FoundTask
    kept: int = 0
    made: int = 0
    failures: list[str] = field(default_factory=list)
