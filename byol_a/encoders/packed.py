"""AudioNTT in evaluation on a CPU: clips of any lengths, without padding, by weights that are prepared once.

Each clip goes through the convolutions by itself, with batch norm folded into their weights; then the frames of all
clips lie one after the other, and go through the MLP together. So nothing is computed on padding, nothing has to be
masked, and every product is large.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from byol_a.encoders.base import pool_time
from byol_a.kernels import Kernels
from byol_a.kernels.functions import scale_and_shift
from byol_a.kernels.products import products_for
from byol_a.pooling import TimePooling

if TYPE_CHECKING:
    from byol_a.encoders.audiontt import AudioNTT

FRAMES_AT_ONCE = 1024  # mel frames whose maps are held at once; more clips than that go one after the other


class PackedAudioNTT:
    """An AudioNTT with its weights as they are now.

    Args:
        encoder: may be in training mode; what is computed is evaluation's.
        kernels: of the CPU.
        precision: float32, bfloat16, or float64, the type of the encoder's products.
    """

    def __init__(self, encoder: AudioNTT, kernels: Kernels, precision: torch.dtype) -> None:
        self._encoder, self._kernels = encoder, kernels
        linear1, linear2 = (layer for layer in encoder.fc if isinstance(layer, nn.Linear))
        blocks = [folded(conv, norm) for conv, norm in encoder.convolutions()]
        channels = [len(bias) for _, bias in blocks]
        products = products_for(kernels, precision, [*channels, linear1.in_features, linear1.out_features])
        self._store, self._real = products.store, torch.promote_types(precision, torch.float32)
        weight, bias = blocks[0]
        self._first = weight.flatten(start_dim=1).to(self._real), bias.to(self._real)
        self._later = [(len(bias), products.conv_relu_pool(weight, bias)) for weight, bias in blocks[1:]]
        self._mlp = products.mlp(*((layer.weight.detach(), layer.bias.detach()) for layer in (linear1, linear2)))
        self._hidden = linear2.out_features
        self._rooms = _Rooms()

    @torch.autocast("cpu", enabled=False)  # the precision was chosen
    def clips(self, stacks: Sequence[Tensor], pooling: TimePooling = "mean+max") -> Tensor:
        """Clip embeddings (N, D) of normalised log-mels, stacks (n, F, T) of clips of one length each, in order.

        In float32, or float64 where that is the precision; frames too.
        """
        local, mlp, lengths = self._frames(stacks)
        if pooling != "mean+max":
            each = self._each(local, mlp, lengths)
            return torch.cat([pool_time(frames[None], None, pooling) for frames in each]).to(self._real)
        return self._encoder.join(self._pooled(local, lengths), self._pooled(mlp, lengths))

    @torch.autocast("cpu", enabled=False)
    def frames(self, stacks: Sequence[Tensor]) -> list[Tensor]:
        """Frame embeddings (T', D) of each clip."""
        return [frames.to(self._real) for frames in self._each(*self._frames(stacks, keep=True))]

    def local_features(self, stacks: Sequence[Tensor], keep: bool = True) -> Tensor:
        """The convolutions' features (M, L) of all frames, one clip after the other.

        Unless they are to be kept, this thread's next ones overwrite them.
        """
        stride, channels = self._encoder.frame_stride, self._later[-1][0]
        bins = self._encoder.n_mels // stride
        total = sum(len(stack) * (stack.shape[2] // stride) for stack in stacks)
        out = self._take("local", (total, bins * channels), keep)
        done = 0
        for stack in stacks:
            n_frames = stack.shape[2] // stride
            for part in stack.split(max(1, FRAMES_AT_ONCE // stack.shape[2])):
                place = out[done : done + len(part) * n_frames].view(len(part), n_frames, bins, channels)
                self._convolve(part, place.permute(0, 3, 2, 1))
                done += len(part) * n_frames
        return out

    def _frames(self, stacks: Sequence[Tensor], keep: bool = False) -> tuple[Tensor, Tensor, list[int]]:
        """The convolutions' features (M, L) and the MLP's (M, H), and how many frames each clip has; kept or not."""
        local = self.local_features(stacks, keep)
        mlp = self._take("mlp", (len(local), self._hidden), keep)
        self._mlp(local, mlp)
        return local, mlp, [stack.shape[2] // self._encoder.frame_stride for stack in stacks for _ in stack]

    def _convolve(self, x: Tensor, out: Tensor) -> None:
        """Log-mels (n, F, T) through all blocks into a map (n, C, F', T')."""
        weight, bias = self._first
        made = self._map(0, len(x), len(bias), x.shape[1] // 2, x.shape[2] // 2)
        self._kernels.conv_relu_pool(x.unsqueeze(1).to(weight.dtype), weight, bias, made)
        for number, (n_channels, layer) in enumerate(self._later, start=1):
            last = number == len(self._later)
            place = out if last else self._map(number, len(x), n_channels, made.shape[2] // 2, made.shape[3] // 2)
            layer(made, place)
            made = place

    def _map(self, number: int, n: int, c: int, h: int, w: int) -> Tensor:
        """A map (n, c, h, w) to write to, channels side by side."""
        return self._take(f"map {number}", (n, h, w, c), keep=False).permute(0, 3, 1, 2)

    def _take(self, name: str, shape: tuple[int, ...], keep: bool) -> Tensor:
        return (_Rooms() if keep else self._rooms).take(name, shape, self._store)

    def _pooled(self, frames: Tensor, lengths: list[int]) -> Tensor:
        out = frames.new_empty(len(lengths), frames.shape[1], dtype=self._real)
        for part, place in zip(frames.split(lengths), out.split(1), strict=True):
            self._kernels.relu_pool_time(part[None], place)
        return out

    def _each(self, local: Tensor, mlp: Tensor, lengths: list[int]) -> Iterator[Tensor]:
        return (self._encoder.join(*parts) for parts in zip(local.split(lengths), mlp.split(lengths), strict=True))


class _Rooms(threading.local):
    """Memory that each thread uses again for its next clips: fresh memory costs more than what is computed in it."""

    def __init__(self) -> None:
        self._rooms: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """An uninitialised tensor, which the next of that name overwrites."""
        size = math.prod(shape)
        room = self._rooms.get(name)
        if room is None or room.numel() < size:
            room = self._rooms[name] = torch.empty(size, dtype=dtype)
        return room[:size].view(shape)


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight (C', C, 3, 3) and bias (C',), float64, of a convolution and the batch norm after it, in evaluation."""
    assert norm.running_mean is not None and norm.running_var is not None
    mean = norm.running_mean.double() if conv.bias is None else norm.running_mean.double() - conv.bias.double()
    scale, shift = scale_and_shift(norm, mean, norm.running_var.double())
    return conv.weight.double() * scale[:, None, None, None], shift
