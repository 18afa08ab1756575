"""BYOL: Bootstrap Your Own Latent (Grill et al. 2020, arXiv 2006.07733), as BYOL-A uses it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol_a.encoders.base import AudioEncoder
from byol_a.errors import UsageError
from byol_a.methods.ema import cosine_tau, ema_update
from byol_a.methods.heads import mlp_head


@dataclass
class HeadConfig:
    """Sizes of a projector or predictor: `hidden` units, `out` outputs."""

    hidden: int = 4096
    out: int = 256

    def __post_init__(self) -> None:
        if self.hidden < 1 or self.out < 1:
            raise UsageError(f"a head needs at least one hidden unit and one output, not {self.hidden} and {self.out}")


@dataclass
class BYOLConfig:
    """BYOL's own settings: the heads and the target's rate `tau`, constant or rising to 1 by a cosine."""

    projector: HeadConfig = field(default_factory=HeadConfig)
    predictor_hidden: int = 4096
    tau: float = 0.99
    tau_schedule: Literal["constant", "cosine"] = "constant"

    def __post_init__(self) -> None:
        if not 0.0 <= self.tau <= 1.0:
            raise UsageError(f"method.tau must lie in [0, 1], not {self.tau}")
        if self.predictor_hidden < 1:
            raise UsageError(f"method.predictor_hidden must be at least 1, not {self.predictor_hidden}")


class StepOutput(NamedTuple):
    """What one forward pass gives the training loop.

    loss: scalar. embeddings: (B, D) of view 1. projections: (B, P) of each view, online network, detached.
    """

    loss: Tensor
    embeddings: Tensor
    projections: tuple[Tensor, Tensor]


def regression_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """`2 - 2 cos(p, z)` row by row: (B, P), (B, P) -> (B,), in float32 (BYOL, eq. 2)."""
    return 2.0 - 2.0 * F.cosine_similarity(prediction.float(), target.float(), dim=-1)


class Branch(nn.Module):
    """Encoder and projector; the online network has one, and the target is an average of it."""

    def __init__(self, encoder: AudioEncoder, head: HeadConfig) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = mlp_head(encoder.embedding_dim, head.hidden, head.out)

    def forward(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, F, T) -> embeddings (B, D), projections (B, P)."""
        embedding = self.encoder(view)
        return embedding, self.projector(embedding)


class BYOL(nn.Module):
    """Online and target networks with their heads, and the symmetric regression loss.

    The target has no gradient and stays in training mode: it normalises by its own batch statistics and
    draws its own dropout masks, as in the authors' code.
    """

    def __init__(self, encoder: AudioEncoder, config: BYOLConfig | None = None) -> None:
        super().__init__()
        self.config = config = config if config is not None else BYOLConfig()
        self.online = Branch(encoder, config.projector)
        self.predictor = mlp_head(config.projector.out, config.predictor_hidden, config.projector.out)
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    @property
    def encoder(self) -> AudioEncoder:
        """The online encoder: what a run is for."""
        return self.online.encoder

    def forward(self, view1: Tensor, view2: Tensor) -> StepOutput:
        """Two views (B, 1, F, T) -> mean over the batch of `l(p1, z2) + l(p2, z1)` (BYOL, section 3.1)."""
        embedding1, projection1 = self.online(view1)
        _, projection2 = self.online(view2)
        with torch.no_grad():
            _, target1 = self.target(view1)
            _, target2 = self.target(view2)
        loss = (
            regression_loss(self.predictor(projection1), target2)
            + regression_loss(self.predictor(projection2), target1)
        ).mean()
        return StepOutput(loss, embedding1.detach(), (projection1.detach(), projection2.detach()))

    def tau(self, step: int, total_steps: int) -> float:
        """The target's rate after optimiser step `step` (counted from 0) of `total_steps`."""
        if self.config.tau_schedule == "cosine":
            return cosine_tau(step, total_steps, self.config.tau)
        return self.config.tau

    def update_target(self, step: int, total_steps: int) -> None:
        """Move the target towards the online network; to be called after every optimiser step."""
        ema_update(self.target, self.online, self.tau(step, total_steps))
