"""TriBYOL: three views and two targets (Li et al. 2022, arXiv 2206.03012), for small batches."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from byol_a.encoders.base import AudioEncoder
from byol_a.methods.byol import Bootstrap, BYOLConfig, Pair
from byol_a.methods.ema import make_target


@dataclass
class TriBYOLConfig(BYOLConfig):
    """BYOL's pieces, and which target moves after a step.

    `update` alternate moves one of the two in turn; both moves each at every step, which makes them one network but for
    their batch-norm statistics: the other reading of the paper, kept to be compared with.
    """

    name: str = "tribyol"
    update: Literal["alternate", "both"] = "alternate"


class TriBYOL(Bootstrap):
    """`1/2 [l(p1, u2) + l(p2, u1)] + 1/2 [l(p1, w3) + l(p3, w1)]`, u by the first target and w by the second.

    The targets share no weights: they start alike and are updated in turn, the first on even steps, the second on odd
    ones. (Rebuilt from partial evidence, as are the loss's weights.)
    """

    n_views: ClassVar[int] = 3
    config_class = TriBYOLConfig
    recordable = True
    pair_weight: ClassVar[float] = 0.5

    config: TriBYOLConfig

    def __init__(self, encoder: AudioEncoder, config: TriBYOLConfig | None = None) -> None:
        super().__init__(encoder, config if config is not None else TriBYOLConfig())
        self.target1 = make_target(self.online)
        self.target2 = make_target(self.online)

    def pairs(self, views: Tensor) -> list[Pair]:
        """Views 1 and 2 predict each other's projections by target 1, views 1 and 3 by target 2."""
        u1, u2 = self.target1.views(views[:2])[1]
        w1, w3 = self.target2.views(views[::2])[1]
        return [Pair(0, u2), Pair(1, u1), Pair(0, w3), Pair(2, w1)]

    def replay_key(self, step: int, total_steps: int) -> Hashable | None:
        """The pieces', and whose turn it is."""
        own = super().replay_key(step, total_steps)
        return None if own is None else (own, step % 2 if self.config.update == "alternate" else 0)

    def end_step(self, step: int, total_steps: int) -> None:
        """Move the target whose turn it is."""
        targets = (self.target1, self.target2)
        for target in targets if self.config.update == "both" else (targets[step % 2],):
            self.move(target, step, total_steps)
