"""What every method offers the training road: views in, a loss and numbers to watch out.

A method owns its networks: what is trained, and the targets that follow. The road knows nothing of them; it calls
`begin_step`, the forward pass, the optimiser, then `end_step`. A new method is one class below `Method`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from byol_a.encoders.base import AudioEncoder


class StepOutput(NamedTuple):
    """What one forward pass gives the training loop.

    loss: scalar. embeddings: (B, D) of view 1. projections: (B, P) of each view. terms: named scalars for the log, such
    as the parts of the loss. All but the loss are detached.
    """

    loss: Tensor
    embeddings: Tensor
    projections: tuple[Tensor, ...]
    terms: dict[str, Tensor]


@dataclass
class MethodConfig:
    """Which method: a name (`byol`), or `module:Class` for one of your own; each has a configuration of its own."""

    name: str = "byol"

    @classmethod
    def variant(cls, name: str) -> type[MethodConfig]:
        """The configuration class of the method called `name`.

        Raises:
            UsageError: if there is none.
        """
        from byol_a.methods import method_class

        return method_class(name).config_class


class Method(nn.Module, ABC):
    """A way to learn an encoder from views of unlabelled clips.

    A subclass is made with (encoder, config), `config` being an instance of its `config_class`. All its state is in
    its state dict; what it does at a step depends on that, the views, the step's number and torch's random numbers
    alone, so that a run resumes exactly. Where several processes train together, gradients are averaged over them.

    Attributes:
        n_views: V, views of each clip it compares.
        config_class: what a recipe's section `method` is read into.
        encoder_prefix: of the state dict's keys that a model is exported from.
        recordable: whether a GPU may record steps and replay them: those of one `replay_key` do the same to the same
            tensors. Each class says so for itself, as one derived from it may do more.
    """

    n_views: ClassVar[int] = 2
    config_class: ClassVar[type[MethodConfig]] = MethodConfig
    encoder_prefix: ClassVar[str] = "online.encoder."
    recordable: ClassVar[bool] = False

    @classmethod
    def encoder_options(cls, config: Any) -> dict[str, Any]:
        """Options of `create_encoder` that the method needs beside the recipe's; the exported model carries them."""
        return {}

    @property
    @abstractmethod
    def encoder(self) -> AudioEncoder:
        """The encoder a run is for; its parameters begin with `encoder_prefix`."""

    def begin_step(self, step: int, total_steps: int) -> None:
        """Called before the forward pass of optimiser step `step` (counted from 0) of `total_steps`."""

    @abstractmethod
    def forward(self, views: Tensor) -> StepOutput:
        """Views (V, B, 1, F, T) of B clips to the loss and what is worth watching."""

    def end_step(self, step: int, total_steps: int) -> None:
        """Called after the optimiser's step `step`: targets move here."""

    def prepare_recording(self, device: torch.device) -> None:
        """Called once where steps will be recorded: numbers that change by a schedule then belong into tensors.

        They live on `device`, and `begin_step`, which no recording holds, fills them.
        """

    def replay_key(self, step: int, total_steps: int) -> Hashable | None:
        """What tells apart steps that do different things; None for a step that is like no other."""
        return ()

    def rates(self, step: int, total_steps: int) -> dict[str, float]:
        """Numbers that change by a schedule of the method's own, for the log."""
        return {}
