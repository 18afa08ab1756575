"""Waves in batches: on a CPU each core has its own, without padding; elsewhere they are padded to one length."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from byol_a.cores import on_cores
from byol_a.device import Precision
from byol_a.frontend.ragged import pad_each
from byol_a.passes import download, packed_encoder, run_encoder, to_device, upload
from byol_a.pooling import Pooling

if TYPE_CHECKING:
    from byol_a.encoders.packed import PackedAudioNTT
    from byol_a.encoding import Level
    from byol_a.model import BYOLA

Item = TypeVar("Item")

BATCH_SECONDS = {"cpu": 40.0, "cuda": 1200.0}  # audio in one batch, padding included: bounds the activations


def encode_short(
    model: BYOLA,
    waves: Sequence[np.ndarray],
    level: Level,
    batch_size: int,
    precision: Precision,
    pooling: Pooling = "model",
) -> list[list[np.ndarray]]:
    """Embeddings of waves (S,) that fit a pass, in order: each a list of one array, or one per layer."""
    lengths = [len(wave) for wave in waves]
    packed = None if level == "layers" or not waves else packed_encoder(model, precision)
    made: Iterable[list[list[np.ndarray]]]
    if packed is not None:
        ours = packed
        chosen = shares(lengths, batch_size, model)
        made = on_cores(lambda batch: encode_packed(model, ours, [waves[i] for i in batch], level, pooling), chosen)
    else:
        chosen = list(batches(lengths, batch_size, model))
        # On a GPU the next batch is on its way before anybody waits for the one before.
        begun = (encode_batch(model, [waves[i] for i in batch], level, precision, pooling) for batch in chosen)
        made = (finish() for finish in one_ahead(begun))
    rows: list[list[np.ndarray]] = [[] for _ in waves]
    for batch, of_batch in zip(chosen, made, strict=True):
        for index, row in zip(batch, of_batch, strict=True):
            rows[index] = row
    return rows


def batches(lengths: Sequence[int], batch_size: int, model: BYOLA) -> Iterator[list[int]]:
    """Indices in batches of similar length: at most `batch_size` clips and so many seconds with the padding.

    Encoders that see the whole clip get clips of one length only.
    """
    limit = BATCH_SECONDS.get(model.device.type, BATCH_SECONDS["cpu"]) * model.sample_rate
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        full = len(batch) >= batch_size or (len(batch) + 1) * lengths[index] > limit
        differs = model.encoder.frame_context is None and batch and lengths[batch[0]] != lengths[index]
        if batch and (full or differs):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def shares(lengths: Sequence[int], batch_size: int, model: BYOLA) -> list[list[int]]:
    """Indices in batches that take the same time, for the cores: clips of any lengths, as no padding is computed."""
    n_cores, total = torch.get_num_threads(), sum(lengths)
    rounds = max(total / (BATCH_SECONDS["cpu"] * model.sample_rate), len(lengths) / batch_size) / n_cores
    batches = [(0, place) for place in range(n_cores * math.ceil(rounds))]  # samples so far: a heap
    found: list[list[int]] = [[] for _ in batches]
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):  # the longest first, to where there is least
        held, place = batches[0]
        found[place].append(index)
        heapq.heapreplace(batches, (held + lengths[index], place))
    return [batch[start : start + batch_size] for batch in found for start in range(0, len(batch), batch_size)]


def encode_packed(
    model: BYOLA, packed: PackedAudioNTT, waves: Sequence[np.ndarray], level: Level, pooling: Pooling = "model"
) -> list[list[np.ndarray]]:
    """Embeddings of clips of any lengths, each as it would be alone, by an encoder prepared for that; sorted is best.

    Clips and frames only.
    """
    shortest = (model.encoder.min_frames - 1) * model.frontend.config.hop_length
    with torch.inference_mode():
        tensors = [to_device(model, wave) for wave in waves]
        padded = [nn.functional.pad(wave, (0, max(0, shortest - len(wave)))) for wave in tensors]
        stacks = [torch.stack(list(same)) for _, same in itertools.groupby(padded, len)]
        log_mels = [model.normalize(model.frontend(stack)) for stack in stacks]  # (n, F, T) each
        if level == "frame":
            rows = packed.frames(log_mels)
        else:
            rows = list(packed.clips(log_mels, "mean+max" if pooling == "model" else pooling))
        return [[row.numpy()] for row in rows]


def encode_batch(
    model: BYOLA, waves: Sequence[np.ndarray], level: Level, precision: Precision, pooling: Pooling = "model"
) -> Callable[[], list[list[np.ndarray]]]:
    """Begin a padded batch; what is returned waits for the embeddings, each clip's as it would be alone."""
    encoder = model.encoder
    log_mel, n_frames = padded_log_mels(model, waves)
    lengths = None
    if len(set(n_frames)) > 1:
        lengths = upload(torch.tensor(n_frames), model.device)
    outputs = [download(output) for output in run_encoder(model, log_mel, lengths, level, precision, pooling)]

    def finish() -> list[list[np.ndarray]]:
        rows = [output() for output in outputs]
        if level == "frame" and lengths is not None:
            return [[rows[0][b, : n // encoder.frame_stride]] for b, n in enumerate(n_frames)]
        return [[row[b] for row in rows] for b in range(len(waves))]

    return finish


def padded_log_mels(model: BYOLA, waves: Sequence[np.ndarray]) -> tuple[Tensor, list[int]]:
    """Log-mels (B, F, T), and each clip's own number of frames, up to which they are those of the clip alone."""
    logmel, config = model.frontend, model.frontend.config
    shortest = (model.encoder.min_frames - 1) * config.hop_length
    samples = [max(shortest, len(wave)) for wave in waves]
    n_frames = [logmel.frames_of(count) for count in samples]
    if len(set(samples)) > 1 and model.device.type == "cpu":
        pairs = zip(waves, samples, strict=True)
        tensors = [nn.functional.pad(to_device(model, wave), (0, n - len(wave))) for wave, n in pairs]
        padded = nn.utils.rnn.pad_sequence([logmel.pad(tensor) for tensor in tensors], batch_first=True)
        return logmel.transform(padded), n_frames
    # One transfer for all, and no waiting for it.
    together = torch.zeros(len(waves), max(samples), pin_memory=model.device.type == "cuda")
    for row, wave in zip(together, waves, strict=True):
        row[: len(wave)] = torch.from_numpy(np.ascontiguousarray(wave))
    batch = together.to(model.device, non_blocking=True).to(next(model.encoder.parameters()).dtype)
    if len(set(samples)) == 1:
        return logmel(batch), n_frames
    return logmel.transform(pad_each(logmel, batch, upload(torch.tensor(samples), model.device))), n_frames


def one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items, each handed out when the next has been made."""
    before: list[Item] = []
    for item in items:
        yield from before
        before = [item]
    yield from before
