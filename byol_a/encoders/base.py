"""What every encoder offers: frame, clip and per-layer features of a batch of log-mels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from byol_a.errors import UsageError
from byol_a.pooling import TIME_POOLINGS, TimePooling, check_pooling

if TYPE_CHECKING:
    from byol_a.encoders.packed import PackedAudioNTT


class AudioEncoder(nn.Module, ABC):
    """Maps normalised log-mels (B, 1, F, T) to embeddings.

    By itself (`pooling="model"` in `BYOLA.encode`) every encoder makes a clip of frames by maximum plus mean over time.
    An encoder does not redefine that in `forward` or `layers`: long audio, which is pooled piece by piece, passes
    them by.

    Attributes:
        embedding_dim: D, the size of a clip's or a frame's embedding.
        n_mels: F, the mel bins it was built for.
        frame_stride: mel frames per output frame; T mel frames give T' = T // frame_stride frames
            (some timm backbones round up instead).
        frame_context: mel frames needed on each side of a chunk for the chunk's output frames to equal those
            of the whole clip (the chunk starting at a multiple of `frame_stride`); None where every output
            sees the whole clip (attention, layer and group norm), so that it can neither be cut into chunks
            nor be padded.
        min_frames: the fewest mel frames that give an output frame.
        layer_strides: mel frames per frame of each of `layer_frames`.
        fast: whether kernels may be used where there is no `obstacle`; the plain path otherwise.
        has_fast_path: whether there are kernels for encoders of this class at all.
        recordable: whether a GPU may record training steps with it and replay them: it does the same to every batch of
            one shape, decides nothing on the CPU and draws at random on the device alone. Each class says so for
            itself, as one derived from it may do more.
    """

    embedding_dim: int
    n_mels: int
    frame_stride: int
    frame_context: int | None
    min_frames: int
    layer_strides: tuple[int, ...]
    fast: bool = True
    has_fast_path: bool = False
    recordable: bool = False

    @abstractmethod
    def frames(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Frame embeddings (B, T', D) of log-mels (B, 1, F, T).

        Args:
            x: normalised log-mels.
            lengths: (B,) valid mel frames of each clip, for a padded batch: whatever stands beyond them has
                no influence, and the first `lengths[b] // frame_stride` output frames of clip b equal those
                of the clip alone. None, the usual case in training, means all T frames of every clip.

        Raises:
            UsageError: if T is below `min_frames` or F is not `n_mels`; for a padded batch where every output
                sees the whole clip.
        """

    @abstractmethod
    def layer_frames(self, x: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
        """Features over time (B, T // stride_l, D_l) of each layer, from the first to `frames` itself."""

    def layers(self, x: Tensor, lengths: Tensor | None = None, pooling: TimePooling = "mean+max") -> list[Tensor]:
        """Features (B, D_l) of each layer, maximum plus mean over time; the last is the clip embedding."""
        return [
            pool_time(frames, None if lengths is None else lengths // stride, pooling)
            for frames, stride in zip(self.layer_frames(x, lengths), self.layer_strides, strict=True)
        ]

    def forward(self, x: Tensor, lengths: Tensor | None = None, pooling: TimePooling = "mean+max") -> Tensor:
        """Clip embeddings (B, D): maximum plus mean over time of the frame embeddings."""
        return pool_time(self.frames(x, lengths), None if lengths is None else lengths // self.frame_stride, pooling)

    def views(self, x: Tensor) -> Tensor:
        """Clip embeddings (V, B, D) of V views (V, B, 1, F, T), each as if it went through the encoder alone.

        What is normalised by the clips of a batch is normalised view by view, running statistics in their order.
        """
        return torch.stack([self(view) for view in x])

    def packed(self, precision: torch.dtype) -> PackedAudioNTT | None:
        """This encoder with its weights as they are now, in evaluation, for many clips of any lengths on a CPU.

        Args:
            precision: of its products.

        Returns:
            None where it has no such form; `forward` and `frames` will do.
        """
        return None

    def obstacle(self, device: torch.device) -> str | None:
        """Why this encoder has no fast path on a device, as a clause; None where it has one."""
        return f"{type(self).__name__} has none"

    def check_input(self, x: Tensor, lengths: Tensor | None = None) -> None:
        """Raise `UsageError` unless `x` is (B, 1, n_mels, at least min_frames), and unpadded where that matters."""
        if x.ndim != 4 or x.shape[1] != 1 or x.shape[2] != self.n_mels or x.shape[3] < self.min_frames:
            raise UsageError(
                f"{type(self).__name__} takes log-mels of shape (B, 1, {self.n_mels}, T) with T at least "
                f"{self.min_frames}, not {tuple(x.shape)}"
            )
        if self.frame_context is None and lengths is not None and not bool((lengths == x.shape[-1]).all()):
            raise UsageError(f"this {type(self).__name__} sees whole clips: give it batches of one length, unpadded")


def valid_positions(lengths: Tensor, n_positions: int) -> Tensor:
    """Mask (B, n_positions), true at positions below each clip's length."""
    return torch.arange(n_positions, device=lengths.device) < lengths[:, None]


def pool_time(frames: Tensor, lengths: Tensor | None = None, pooling: TimePooling = "mean+max") -> Tensor:
    """Maximum plus mean over time: (B, T', D) to (B, D), over each clip's first `lengths` frames only.

    The mean is taken in float32 at least, whatever precision the frames have.

    Args:
        pooling: `"mean+max"`, the papers' sum of both, or one of them alone.

    Raises:
        UsageError: for another pooling.
    """
    check_pooling(pooling, TIME_POOLINGS)
    mean_dtype = torch.promote_types(frames.dtype, torch.float32)
    valid = None if lengths is None else valid_positions(lengths, frames.shape[1])[:, :, None]
    pooled: list[Tensor] = []
    if pooling != "mean":
        pooled.append((frames if valid is None else frames.masked_fill(~valid, -torch.inf)).amax(dim=1))
    if pooling != "max":
        if lengths is None or valid is None:
            pooled.append(frames.mean(dim=1, dtype=mean_dtype))
        else:
            pooled.append(frames.masked_fill(~valid, 0).sum(dim=1, dtype=mean_dtype) / lengths[:, None])
    return pooled[0] if len(pooled) == 1 else pooled[0] + pooled[1]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; each submodule's own training flag back afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
