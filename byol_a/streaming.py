"""Audio of any length through a model in pieces: the frames of the whole, in the memory of one piece.

Log-mels are exact because the signal is padded at its two real ends only; encoder outputs are exact because
every chunk is given the encoder's `frame_context` on both sides, and what that context makes is thrown away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from byol_a.cores import on_cores
from byol_a.errors import UsageError
from byol_a.frontend import LogMel
from byol_a.passes import packed_encoder, run_encoder, to_device
from byol_a.pooling import TIME_POOLINGS, TimePooling, check_pooling

if TYPE_CHECKING:
    from byol_a.device import Precision
    from byol_a.model import BYOLA


def padded_blocks(blocks: Iterable[Tensor], logmel: LogMel, min_samples: int = 0) -> Iterator[Tensor]:
    """A signal's blocks (s,), framed by the front-end's centring padding of the whole signal.

    A signal shorter than `min_samples` is padded with zeros at its end first.
    """
    # The padding of an end depends on the n_fft samples next to it at most.
    n_fft = logmel.config.n_fft
    half = n_fft // 2
    enough = max(n_fft, min_samples)
    head: Tensor | None = None
    tail: Tensor | None = None
    for block in blocks:
        if tail is not None:
            yield block
            tail = torch.cat([tail, block])[-n_fft:]
            continue
        head = block if head is None else torch.cat([head, block])
        if len(head) >= enough:
            yield torch.cat([logmel.pad(head)[:half], head])
            tail = head[-n_fft:]
    if tail is not None:
        yield logmel.pad(tail)[-(n_fft - half) :]
    elif head is not None:
        yield logmel.pad(torch.nn.functional.pad(head, (0, max(0, min_samples - len(head)))))


def stream_log_mels(blocks: Iterable[Tensor], logmel: LogMel, min_frames: int = 1) -> Iterator[Tensor]:
    """Log-mels (F, t), a piece per block; side by side they are the log-mel (F, T) of the whole signal.

    A signal too short for `min_frames` frames is padded with zeros at its end.
    """
    n_fft, hop = logmel.config.n_fft, logmel.config.hop_length
    rest: Tensor | None = None
    skip = 0  # samples still to come before the next frame begins, where frames lie apart
    for padded in padded_blocks(blocks, logmel, (min_frames - 1) * hop):
        block = padded[skip:]
        skip -= len(padded) - len(block)
        rest = block if rest is None else torch.cat([rest, block])
        n_frames = 1 + (len(rest) - n_fft) // hop if len(rest) >= n_fft else 0
        if n_frames > 0:
            yield logmel.transform(rest[: (n_frames - 1) * hop + n_fft])
            skip = max(0, n_frames * hop - len(rest))
            rest = rest[n_frames * hop :]


def stream_frames(
    model: BYOLA,
    blocks: Iterable[np.ndarray],
    chunk_seconds: float = 30.0,
    all_layers: bool = False,
    precision: Precision = "float32",
) -> Iterator[list[Tensor]]:
    """Frame embeddings of a signal given in blocks (s,) of any sizes.

    Yields:
        A list with the frames (t, D) of the next chunk; with `all_layers`, the frames (t_l, D_l) of each of
        the encoder's layers (some may be empty in the last chunk).
    """
    if chunk_seconds <= 0:
        raise UsageError(f"chunk_seconds must be positive, not {chunk_seconds}")
    encoder = model.encoder
    stride = encoder.frame_stride
    strides = encoder.layer_strides if all_layers else (stride,)
    chunk = stride * max(1, round(chunk_seconds / model.frame_seconds))
    # Chunks start at multiples of the stride, so the context must be whole strides. Without any (None) the
    # chunks are independent clips.
    context = stride * -(-(encoder.frame_context or 0) // stride)

    packed = None if all_layers else packed_encoder(model, precision)

    def encode(held: tuple[Tensor, int, int | None]) -> list[Tensor]:
        log_mel, skip, keep = held
        if packed is not None:
            with torch.inference_mode():
                layers = [frames[None] for frames in packed.frames([model.normalize(log_mel[None])])]
        else:
            layers = run_encoder(model, log_mel[None], None, "all_frames" if all_layers else "frame", precision)
        end = None if keep is None else skip + keep
        return [
            layer[0, skip // stride : None if end is None else end // stride]
            for layer, stride in zip(layers, strides, strict=True)
        ]

    signal = (to_device(model, block) for block in blocks)
    chunks = _chunks(stream_log_mels(signal, model.frontend, encoder.min_frames), chunk, context, encoder.min_frames)
    yield from map(encode, chunks) if packed is None else on_cores(encode, chunks)


def _chunks(pieces: Iterable[Tensor], chunk: int, context: int, least: int) -> Iterator[tuple[Tensor, int, int | None]]:
    """Log-mels (F, t), given in pieces of any lengths, in chunks with `context` frames on both sides.

    Yields:
        A chunk with its context, and which of its frames are its own: how many come before, and how many they are;
        None for all that follow.
    """
    held: Tensor | None = None  # from mel frame `start` on
    start = done = 0
    for piece in pieces:
        held = piece if held is None else torch.cat([held, piece], dim=1)
        while held.shape[1] >= done - start + chunk + context:
            yield held[:, : done - start + chunk + context], done - start, chunk
            done += chunk
            held = held[:, max(0, done - context) - start :]
            start = max(0, done - context)
    if held is not None and held.shape[1] > done - start and held.shape[1] >= least:
        yield held, done - start, None


class TimePool:
    """`pool_time` of frames that come in pieces; for several layers side by side.

    Raises:
        UsageError: for a pooling that there is not.
    """

    def __init__(self, pooling: TimePooling = "mean+max") -> None:
        check_pooling(pooling, TIME_POOLINGS)
        self._pooling = pooling
        self._highest: list[Tensor] = []
        self._total: list[Tensor] = []
        self._count: list[int] = []

    def update(self, layers: list[Tensor]) -> None:
        """Take in the next frames (t, D_l) of each layer."""
        if not self._count:
            self._highest = [torch.full_like(frames[0], -torch.inf) for frames in layers]
            self._total = [torch.zeros_like(frames[0], dtype=torch.float64) for frames in layers]
            self._count = [0] * len(layers)
        for index, frames in enumerate(layers):
            if len(frames):
                self._highest[index] = torch.maximum(self._highest[index], frames.amax(dim=0))
                self._total[index] += frames.sum(dim=0, dtype=torch.float64)
                self._count[index] += len(frames)

    def result(self) -> list[Tensor]:
        """The pooled features (D_l,) of each layer."""
        means = [
            (total / count).to(highest.dtype)
            for highest, total, count in zip(self._highest, self._total, self._count, strict=True)
        ]
        if self._pooling == "mean":
            return means
        if self._pooling == "max":
            return self._highest
        return [highest + mean for highest, mean in zip(self._highest, means, strict=True)]
