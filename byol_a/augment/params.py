"""What every augmentation's drawn parameters share: moving to a device and slicing by clip."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

P = TypeVar("P", bound="Params")
Batch = int | tuple[int, ...]  # how many clips, or (views, clips)


@dataclass(frozen=True)
class Params:
    """Drawn parameters of one augmentation, a dataclass of tensors.

    Each tensor starts with the dimensions asked of `draw`: (B,), or (V, B) for V views of B clips. The first
    field holds exactly one number per clip, so its last dimension counts the clips.
    """

    def to(self: P, device: torch.device | str) -> P:
        """The same parameters on `device`."""
        return replace(
            self,
            **{field.name: getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)},
        )

    def __getitem__(self: P, clips: slice) -> P:
        """The parameters of some clips, `params[a:b]`, in every view."""
        clip_dim = getattr(self, fields(self)[0].name).dim() - 1
        index = (slice(None),) * clip_dim + (clips,)
        return replace(self, **{field.name: getattr(self, field.name)[index] for field in fields(self)})

    def __len__(self) -> int:
        """The number of clips B."""
        return int(getattr(self, fields(self)[0].name).shape[-1])


def uniform(batch: Batch, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Float32 numbers from U(low, high), in the shape `batch`, drawn on the generator's device."""
    shape = (batch,) if isinstance(batch, int) else batch
    return torch.rand(shape, generator=generator, device=generator.device) * (high - low) + low
