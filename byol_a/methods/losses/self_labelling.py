"""Self-labelling: what the similarities of a batch say about pairs of clips is learned from (CCSL and CSSL).

Garg and Jain 2022, arXiv 2204.04545. `S_ij = cos(p_i, z_j)` for every prediction and target of the batch. Pairs with
S >= 0.8 are positives, and each clip's own pair always; others with S <= 0.2 are negatives; the rest is ignored. The
thresholds are the paper's; how pairs become a loss is rebuilt from partial evidence, and the guard and the warm-up are
our choice.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from byol_a.errors import UsageError
from byol_a.methods.collective import gather_rows, rank, sum_over_processes, world_size
from byol_a.methods.losses.base import LossConfig, PairLoss
from byol_a.methods.losses.regression import regression_loss


@dataclass
class SelfLabellingConfig(LossConfig):
    """Which pairs are learned from, and how much.

    positive, negative: cosines from which, and down to which, two clips count as alike and as different.
    guard: let the positives between different clips weigh at most as much, all together, as the clips' own pairs;
        without it every positive counts alike. The bound is one for the whole batch; another reading would bound each
        row's positives by its own pair.
    warmup_steps: steps of plain BYOL before the similarities mean anything.
    beside_byol: add BYOL's loss: the other reading of the paper, in which self-labelling does not replace it.
    """

    positive: float = 0.8
    negative: float = 0.2
    guard: bool = True
    warmup_steps: int = 0
    beside_byol: bool = False

    def __post_init__(self) -> None:
        if not -1.0 <= self.negative < self.positive <= 1.0:
            raise UsageError(
                "method.loss needs cosines -1 <= negative < positive <= 1, "
                f"not negative {self.negative} and positive {self.positive}"
            )
        if self.warmup_steps < 0:
            raise UsageError(f"method.loss.warmup_steps must be at least 0, not {self.warmup_steps}")


@dataclass
class CCSLConfig(SelfLabellingConfig):
    """Cosine contrastive self-labelling."""

    name: str = "ccsl"


@dataclass
class CSSLConfig(SelfLabellingConfig):
    """Contrastive sigmoid self-labelling; `scale` multiplies the cosine in the sigmoid, which 1 leaves almost flat."""

    name: str = "cssl"
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale <= 0:
            raise UsageError(f"method.loss.scale must be above 0, not {self.scale}")


class Labels(NamedTuple):
    """Which predictions (rows) and targets (columns) are whose: masks (B, N) that exclude one another."""

    own: Tensor
    positive: Tensor
    negative: Tensor


class SelfLabelling(PairLoss):
    """Mean attraction of the positives plus mean repulsion of the negatives, over the pairs of all processes.

    Where several processes train together the targets of all are columns and each process adds its rows; the mean of
    the processes' losses is the loss of the whole batch, and so are the gradients.
    """

    def __init__(self, config: SelfLabellingConfig) -> None:
        super().__init__()
        self.config = config
        self.warming_up = config.warmup_steps > 0

    @abstractmethod
    def attraction(self, similarity: Tensor) -> Tensor:
        """What a positive pair costs, elementwise, by its cosine."""

    @abstractmethod
    def repulsion(self, similarity: Tensor) -> Tensor:
        """What a negative pair costs, elementwise, by its cosine."""

    def begin_step(self, step: int, total_steps: int) -> None:
        """See `PairLoss.begin_step`."""
        self.warming_up = step < self.config.warmup_steps

    def replay_key(self, step: int) -> Hashable:
        """Whether the loss is plain BYOL's still."""
        return step < self.config.warmup_steps

    def label(self, similarity: Tensor) -> Labels:
        """The masks of a batch's cosines (B, N), whose rows are this process's share of the N clips; no gradient."""
        clips, everyone = similarity.shape
        first = rank() * clips
        mine = torch.arange(first, first + clips, device=similarity.device)
        own = mine[:, None] == torch.arange(everyone, device=similarity.device)
        similarity = similarity.detach()
        return Labels(own, (similarity >= self.config.positive) & ~own, (similarity <= self.config.negative) & ~own)

    def forward(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See `PairLoss.forward`; logged are the shares of positives and negatives among pairs of different clips."""
        similarity = _cosines(prediction, target)
        labels = self.label(similarity)
        clips = float(similarity.shape[1])
        counts = torch.stack([labels.positive.sum(), labels.negative.sum()]).to(similarity.dtype)
        positives, negatives = sum_over_processes(counts)[0]
        others = max(clips * (clips - 1.0), 1.0)
        shares = {"share_positive": positives / others, "share_negative": negatives / others}

        byol = regression_loss(prediction, target).mean()
        if self.warming_up:
            return byol, shares
        # A positive of two clips counts as one clip's own pair, or less where they are more.
        weight = (clips / positives.clamp(min=1.0)).clamp(max=1.0) if self.config.guard else torch.ones_like(positives)
        attraction = self.attraction(similarity)
        pulled = (attraction * (labels.own + weight * labels.positive)).sum() / (clips + weight * positives)
        pushed = (self.repulsion(similarity) * labels.negative).sum() / negatives.clamp(min=1.0)
        loss = (pulled + pushed) * world_size()
        return loss + byol if self.config.beside_byol else loss, shares


class CCSL(SelfLabelling):
    """`mean_pos (2 - 2 S) + mean_neg max(0, S)`; without pairs of different clips it is BYOL's loss."""

    def __init__(self, config: CCSLConfig | None = None) -> None:
        super().__init__(config if config is not None else CCSLConfig())

    def attraction(self, similarity: Tensor) -> Tensor:
        """BYOL's loss of a pair."""
        return 2.0 - 2.0 * similarity

    def repulsion(self, similarity: Tensor) -> Tensor:
        """Nothing where the rows point away from each other."""
        return similarity.clamp(min=0.0)


class CSSL(SelfLabelling):
    """`-mean_pos log s - mean_neg log(1 - s)` with `s = sigmoid(scale S)`."""

    def __init__(self, config: CSSLConfig | None = None) -> None:
        config = config if config is not None else CSSLConfig()
        super().__init__(config)
        self.scale = config.scale

    def attraction(self, similarity: Tensor) -> Tensor:
        """`-log s`."""
        return F.softplus(-self.scale * similarity)

    def repulsion(self, similarity: Tensor) -> Tensor:
        """`-log(1 - s)`."""
        return F.softplus(self.scale * similarity)


def _cosines(prediction: Tensor, target: Tensor) -> Tensor:
    """(B, P), (B, P) -> (B, N): this process's predictions with the targets of all, in float32 at least."""
    dtype = torch.promote_types(torch.promote_types(prediction.dtype, target.dtype), torch.float32)
    everyone = gather_rows(F.normalize(target.detach().to(dtype), dim=-1))
    with torch.autocast(prediction.device.type, enabled=False):
        return F.normalize(prediction.to(dtype), dim=-1) @ everyone.T
