"""BYOL: Bootstrap Your Own Latent (Grill et al. 2020, arXiv 2006.07733), as BYOL-A uses it.

`Bootstrap` is what BYOL shares with its relatives: an online network that predicts a target's projections.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from byol_a.encoders.base import AudioEncoder
from byol_a.encoders.variational import is_variational
from byol_a.errors import UsageError
from byol_a.kernels.guards import is_watched
from byol_a.methods.base import Method, MethodConfig, StepOutput
from byol_a.methods.ema import cosine_tau, follow, make_target
from byol_a.methods.heads import HeadConfig, mlp_head
from byol_a.methods.losses import LossConfig, RegressionConfig, create_loss
from byol_a.methods.predictors import MLPPredictorConfig, PredictorConfig, create_predictor
from byol_a.methods.regularizers import Regularizer, RegularizersConfig, create_regularizers


@dataclass
class BYOLConfig(MethodConfig):
    """The pieces BYOL is made of, and the target's rate `tau`, constant or rising to 1 by a cosine.

    `predictor`, `loss` and `regularizers` are each one of several; see `docs/methods.md`.
    """

    name: str = "byol"
    projector: HeadConfig = field(default_factory=HeadConfig)
    predictor: PredictorConfig = field(default_factory=MLPPredictorConfig)
    loss: LossConfig = field(default_factory=RegressionConfig)
    regularizers: RegularizersConfig = field(default_factory=RegularizersConfig)
    tau: float = 0.99
    tau_schedule: Literal["constant", "cosine"] = "constant"

    def __post_init__(self) -> None:
        if not 0.0 <= self.tau <= 1.0:
            raise UsageError(f"method.tau must lie in [0, 1], not {self.tau}")

    def tau_at(self, step: int, total_steps: int) -> float:
        """The target's rate after optimiser step `step` (counted from 0) of `total_steps`."""
        return cosine_tau(step, total_steps, self.tau) if self.tau_schedule == "cosine" else self.tau


class Branch(nn.Module):
    """Encoder and projector; the online network has one, and a target is an average of it."""

    def __init__(self, encoder: AudioEncoder, head: HeadConfig) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = mlp_head(encoder.embedding_dim, head.hidden, head.out, head.norm)

    def forward(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, F, T) -> embeddings (B, D), projections (B, P)."""
        embedding = self.encoder(view)
        return embedding, self.projector(embedding)

    def views(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """(V, B, 1, F, T) -> embeddings (V, B, D), projections (V, B, P), each view normalised by itself.

        What does not look at other clips is done for all views together, where no weights are drawn for each view.
        """
        if is_variational(self) or is_watched(self, self.encoder, self.projector, *self.projector):
            embeddings, projections = zip(*(self(view) for view in views), strict=True)
            return torch.stack(embeddings), torch.stack(projections)
        embedding = self.encoder.views(views)
        return embedding, self.projector.views(embedding)


class Pair(NamedTuple):
    """The online view `view` is to predict `target` (B, P), another view's projections by a target network."""

    view: int
    target: Tensor


class Bootstrap(Method):
    """An online network with predictor, and the loss of what it predicts; the targets are the subclass's.

    A target has no gradient and stays in training mode: it normalises by its own batch statistics and draws its own
    dropout masks, as in BYOL's code.
    """

    def __init__(self, encoder: AudioEncoder, config: BYOLConfig) -> None:
        super().__init__()
        self.config = config
        self.online = Branch(encoder, config.projector)
        self.predictor = create_predictor(config.predictor, config.projector.out)
        self.loss = create_loss(config.loss)
        self.regularizers = create_regularizers(config.regularizers)
        self._share: Tensor | None = None  # 1 - tau of the step under way, where steps are recorded

    @property
    def encoder(self) -> AudioEncoder:
        """The online encoder."""
        return self.online.encoder

    def begin_step(self, step: int, total_steps: int) -> None:
        """Tell the pieces which step it is."""
        self.predictor.begin_step()
        self.loss.begin_step(step, total_steps)
        for _, regularizer in self._regularizers():
            regularizer.begin_step(step, total_steps)
        if self._share is not None:
            self._share.fill_(1.0 - self.config.tau_at(step, total_steps))

    def prepare_recording(self, device: torch.device) -> None:
        """See `Method.prepare_recording`."""
        self._share = torch.zeros((), device=device)

    def replay_key(self, step: int, total_steps: int) -> Hashable | None:
        """Whether the loss is warming up; None where a regulariser is not the same at any two steps."""
        if not all(regularizer.recordable for _, regularizer in self._regularizers()):
            return None
        return self.loss.replay_key(step)

    def move(self, target: nn.Module, step: int, total_steps: int) -> None:
        """Move a target towards the online network, by the step's tau."""
        share = 1.0 - self.config.tau_at(step, total_steps) if self._share is None else self._share
        follow(target, self.online, share)

    @abstractmethod
    def pairs(self, views: Tensor) -> list[Pair]:
        """What is to be predicted from which of the views (V, B, 1, F, T); without gradient."""

    pair_weight: ClassVar[float] = 1.0
    """What each pair's loss counts in the sum."""

    def forward(self, views: Tensor) -> StepOutput:
        """Views (V, B, 1, F, T) -> the sum of the pairs' losses and the weighted regularisers."""
        embeddings, projections = self.online.views(views)
        with torch.no_grad():
            pairs = self.pairs(views)
            self.predictor.fit(
                torch.cat([projections[pair.view].detach() for pair in pairs]),
                torch.cat([pair.target for pair in pairs]),
            )
        predictions = [self.predictor(projection) for projection in projections]
        losses, logged = zip(*(self.loss(predictions[pair.view], pair.target) for pair in pairs), strict=True)
        loss = self.pair_weight * torch.stack(losses).sum()
        terms = _means(logged)
        penalties = self.penalties(tuple(projections))
        if penalties:
            terms["loss_pairs"] = loss.detach()
            terms |= {f"loss_{name}": penalty.detach() for name, penalty in penalties.items()}
            loss = loss + torch.stack([penalty.to(loss.dtype) for penalty in penalties.values()]).sum()
        return StepOutput(loss, embeddings[0].detach(), tuple(projections.detach()), terms)

    def penalties(self, projections: Sequence[Tensor]) -> dict[str, Tensor]:
        """What is added to the pairs' loss, weighted, by name."""
        networks = (self.online, self.predictor)
        return {
            name: regularizer.weight * regularizer(networks, projections) for name, regularizer in self._regularizers()
        }

    def _regularizers(self) -> Iterator[tuple[str, Regularizer]]:
        for name, regularizer in self.regularizers.items():
            yield name, cast("Regularizer", regularizer)

    def rates(self, step: int, total_steps: int) -> dict[str, float]:
        """The targets' tau."""
        return {"tau": self.config.tau_at(step, total_steps)}


class BYOL(Bootstrap):
    """Two views, one target: `l(p1, z2) + l(p2, z1)`, a sum, not halved (BYOL, section 3.1).

    Args:
        encoder: the online encoder.
        config: BYOL's settings; the paper's by default, with BYOL-A's constant tau.
    """

    config_class = BYOLConfig
    recordable = True

    def __init__(self, encoder: AudioEncoder, config: BYOLConfig | None = None) -> None:
        super().__init__(encoder, config if config is not None else BYOLConfig())
        self.target = make_target(self.online)

    def pairs(self, views: Tensor) -> list[Pair]:
        """Each view predicts the other."""
        target1, target2 = self.target.views(views)[1]
        return [Pair(0, target2), Pair(1, target1)]

    def end_step(self, step: int, total_steps: int) -> None:
        """Move the target towards the online network."""
        self.move(self.target, step, total_steps)


def _means(logged: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of what several losses want logged."""
    return {name: torch.stack([each[name] for each in logged]).mean() for name in logged[0]}
