"""What is asked of an encoder: which part of each clip it sees, and how log-mels are normalised."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

from byol_a.errors import UsageError

Cut: TypeAlias = Literal["whole", "first", "random"]


@dataclass(frozen=True)
class EmbeddingRequest:
    """One way to embed a task's clips.

    Attributes:
        cut: `"whole"` clips of whatever lengths; the `"first"` unit of each; or one `"random"` unit, whose place
            is a function of the seed and the clip's index in the task alone. Shorter clips are padded with
            zeros at the end to a unit.
        unit_seconds: the unit's length; no part of whole clips.
        seed: of random cuts.
        stats: mean and standard deviation that take the place of the model's own for its log-mels.

    Raises:
        UsageError: for an unknown cut, or one without a length above 0.
    """

    cut: Cut = "whole"
    unit_seconds: float | None = None
    seed: int = 0
    stats: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.cut not in get_args(Cut):
            raise UsageError(f"a cut is one of {', '.join(get_args(Cut))}, not {self.cut!r}")
        unit = self.unit_seconds
        if self.cut != "whole" and (unit is None or not (math.isfinite(unit) and unit > 0)):
            raise UsageError(f"the cut {self.cut!r} needs the unit's length in seconds, above 0, not {unit}")

    @property
    def canonical(self) -> EmbeddingRequest:
        """The request without what plays no part in it: equal ones give equal embeddings."""
        return replace(
            self,
            unit_seconds=None if self.cut == "whole" else self.unit_seconds,
            seed=self.seed if self.cut == "random" else 0,
        )

    def identity(self) -> list[Any]:
        """The same as JSON values."""
        return [self.cut, self.unit_seconds, self.seed, None if self.stats is None else list(self.stats)]
