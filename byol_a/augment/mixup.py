"""Log-mixup-exp: a little of a past clip is added to each clip as background sound."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from byol_a.augment.config import MixupConfig
from byol_a.augment.params import Batch, Params, uniform
from byol_a.errors import ByolaError

EPS = torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class MixupParams(Params):
    """Per clip: `ratio`, the partner's weight; `partner` in [0, 1), its place in what is remembered."""

    ratio: Tensor
    partner: Tensor


def log_mixture(x_energy: Tensor, z_energy: Tensor, ratio: Tensor) -> Tensor:
    """`log((1 - a) e^x + a e^z + eps)` from the energies e^x, e^z and the ratio a in [0, 1]."""
    return torch.lerp(x_energy, z_energy, ratio).add_(EPS).log_()


class Mixup(nn.Module):
    """Mixup of BYOL-A (arXiv 2103.06695): `log((1 - a) e^x + a e^z + eps)`, a ~ U(0, max_ratio).

    z is drawn uniformly from the last `memory` clips pushed, which are to be normalised and unmixed inputs.
    An empty memory mixes nothing. `apply` leaves the memory as it is: a caller that makes several views makes
    them all from the memory as it stood before the batch, then pushes the batch once [choice].

    The memory is a ring: the clip pushed n-th (from 0) lies in slot `n % memory`. Both the ring and the count
    are in the state dict, so a restored module continues bit for bit. The count is a plain integer, so
    nothing here waits for the device.
    """

    memory: Tensor  # (memory, F, T)

    def __init__(self, config: MixupConfig, n_mels: int, n_frames: int) -> None:
        super().__init__()
        self.config = config
        self.pushed = 0
        self.register_buffer("memory", torch.zeros(config.memory, n_mels, n_frames))

    @property
    def filled(self) -> int:
        """How many clips the memory holds."""
        return min(self.pushed, len(self.memory))

    def draw(self, batch: Batch, generator: torch.Generator) -> MixupParams:
        """Parameters for `batch` clips; they do not depend on how full the memory is."""
        return MixupParams(
            ratio=uniform(batch, 0.0, self.config.max_ratio, generator),
            partner=uniform(batch, 0.0, 1.0, generator),
        )

    def apply(self, x: Tensor, params: MixupParams) -> Tensor:  # type: ignore[override]
        """Mix x (B, F, T), or (V, B, F, T), with remembered clips; x itself while nothing is remembered.

        Parameters of shape (V, B) turn one x (B, F, T) into V views (V, B, F, T).
        """
        params = params.to(x.device)
        if self.filled == 0:
            return x.expand(*params.ratio.shape, *x.shape[-2:])
        slot = self.slots(params)
        z = self.memory.index_select(0, slot.flatten()).to(x.dtype).view(*slot.shape, *self.memory.shape[1:])
        # In place, for z is a copy: fresh memory costs more than the arithmetic does.
        return log_mixture(x.exp(), z.exp_(), params.ratio.to(x.dtype)[..., None, None])

    def slots(self, params: MixupParams) -> Tensor:
        """Where in the memory, of which there is something, the partners lie; int64, in the shape of the parameters."""
        # u * filled may round up to filled itself.
        return (params.partner * self.filled).long().clamp_(0, self.filled - 1)

    @torch.no_grad()
    def push(self, x: Tensor) -> None:
        """Remember the clips x (B, F, T), in order; the oldest make room, of a large batch the last stay.

        Raises:
            ByolaError: if x is not a batch of clips of the size this memory was made for.
        """
        if x.dim() != 3 or x.shape[1:] != self.memory.shape[1:]:
            raise ByolaError(
                f"the mixup memory holds clips of (mel bins, frames) {tuple(self.memory.shape[1:])} and was "
                f"given a batch of shape {tuple(x.shape)}; make Views with the size of the clips it will see"
            )
        size = len(self.memory)
        kept = x[-size:]
        start = (self.pushed + len(x) - len(kept)) % size
        head = min(len(kept), size - start)
        self.memory[start : start + head] = kept[:head]
        self.memory[: len(kept) - head] = kept[head:]
        self.pushed += len(x)

    def get_extra_state(self) -> dict[str, int]:
        """The count that goes with the ring, for the state dict."""
        return {"pushed": self.pushed}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Take the count back from a state dict."""
        self.pushed = int(state["pushed"])
