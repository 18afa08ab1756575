"""Turning many pieces of audio into embeddings: reading ahead, batching by length, pooling."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from byol_a.device import PRECISIONS, Precision
from byol_a.errors import AudioError, UsageError
from byol_a.frontend.precision import full_precision
from byol_a.inputs import AudioInput, Loaded, ahead, groups, is_long, is_single, load, read_ahead, wave_blocks
from byol_a.pooling import Pooling, check_pooling
from byol_a.progress import Progress
from byol_a.streaming import TimePool, stream_frames
from byol_a.uncertainty import check_samples, over_samples

if TYPE_CHECKING:
    from byol_a.model import BYOLA

Level: TypeAlias = Literal["clip", "frame", "layers"]
Key = TypeVar("Key")
OnError: TypeAlias = Callable[[str, AudioError], None]

CHUNK_SECONDS = 30.0  # audio too long for one pass is taken in pieces of this length
BATCH_SECONDS = {"cpu": 40.0, "cuda": 1200.0}  # audio in one batch, padding included: bounds the activations


def encode(
    model: BYOLA,
    inputs: AudioInput | Sequence[AudioInput],
    batch_size: int,
    level: Level,
    show_progress: bool | None,
    convert_to: str,
    device: str | torch.device | None,
    on_error: Literal["raise"] | OnError,
    precision: Precision,
    pooling: Pooling,
    samples: int | None,
) -> Any:
    """`BYOLA.encode`; see there."""
    _check_choice("level", level, ("clip", "frame", "layers"))
    check_pooling(pooling)
    check_samples(model, samples)
    _check_choice("convert_to", convert_to, ("numpy", "tensor"))
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, not {batch_size}")
    if device is not None:
        model.to(device)
    single = is_single(inputs)
    items: list[Any] = [inputs] if single else list(inputs)  # type: ignore[arg-type]
    names = [str(item) if isinstance(item, str | Path) else f"input {i}" for i, item in enumerate(items)]

    results: list[list[np.ndarray] | None] = [None] * len(items)
    if show_progress is None:
        show_progress = len(items) > batch_size and sys.stderr.isatty()
    with Progress("embedding", total=len(items), enabled=show_progress) as progress:

        def read(key: int) -> Loaded:
            return load(items[key], model.sample_rate, names[key])

        for key, rows in encode_each(model, read, range(len(items)), level, batch_size, precision, pooling, samples):
            if not isinstance(rows, AudioError):
                results[key] = rows
            elif on_error == "raise":
                raise rows
            else:
                on_error(names[key], rows)
            progress.advance()
    if samples is None:
        return _collect(model, results, level, convert_to, single)
    mean, std = (
        _collect(model, [row and [array[part] for array in row] for row in results], level, convert_to, single)
        for part in (0, 1)
    )
    return mean, std


def encode_each(
    model: BYOLA,
    read: Callable[[Key], Loaded],
    keys: Iterable[Key],
    level: Level = "clip",
    batch_size: int = 32,
    precision: Precision = "float32",
    pooling: Pooling = "model",
    samples: int | None = None,
) -> Iterator[tuple[Key, list[np.ndarray] | AudioError]]:
    """Embeddings of the audio that `read` gives for each key, in their order, as they are made.

    Threads read ahead of what is being encoded; neither the audio nor the embeddings are ever all in memory.

    Args:
        read: gives a wave (S,) at the model's rate, a long file, or an error; called by the threads.
        samples: of the weights; each array is then (2, ...), mean and standard deviation (see `over_samples`).

    Yields:
        A key, with a list of one array, or of one per layer; or with the error that there was.
    """
    for group in ahead(groups(read_ahead(read, keys), model.sample_rate)):
        waves = [audio for _, audio in group if isinstance(audio, np.ndarray)]
        encode_group = partial(encode_waves, model, waves, level, batch_size, precision, pooling)
        encoded = iter(over_samples(model, samples, encode_group))
        for key, audio in group:
            if isinstance(audio, np.ndarray):
                yield key, next(encoded)
            elif isinstance(audio, AudioError):
                yield key, audio
            else:
                try:
                    encode_file = partial(encode_long, model, audio.path, level, precision, pooling)
                    (rows,) = over_samples(model, samples, lambda: [encode_file()])  # noqa: B023 (called at once)
                except AudioError as error:
                    yield key, error
                else:
                    yield key, rows


def _collect(model: BYOLA, results: list[list[np.ndarray] | None], level: Level, convert_to: str, single: bool) -> Any:
    """Stack per-input results the way `encode` returns them; None stands for an input that failed."""
    if not results or None in results:
        silence = np.zeros(1, dtype=np.float32)
        (example,) = encode_waves(model, [silence], level, 1, "float32")
        failed = [row[:0] if level == "frame" else np.full_like(row, np.nan) for row in example]
    filled = [failed if result is None else result for result in results]
    convert = torch.from_numpy if convert_to == "tensor" else np.asarray
    if single:
        rows = [convert(row) for row in filled[0]]
        return rows if level == "layers" else rows[0]
    if level == "frame":
        return [convert(row) for (row,) in filled]
    if not filled:
        stacked = [convert(np.stack(failed)[:0]) if level == "clip" else convert(row[None][:0]) for row in failed]
    else:
        stacked = [convert(np.stack(rows)) for rows in zip(*filled, strict=True)]
    return stacked if level == "layers" else stacked[0]


def encode_waves(
    model: BYOLA,
    waves: Sequence[np.ndarray],
    level: Level,
    batch_size: int,
    precision: Precision,
    pooling: Pooling = "model",
) -> list[list[np.ndarray]]:
    """Embeddings of waves (S,) at the model's rate, in order: each a list of one array, or one per layer."""
    long = [is_long(len(wave), model.sample_rate) for wave in waves]
    results = [encode_long(model, wave, level, precision, pooling) if long[i] else [] for i, wave in enumerate(waves)]
    short = [index for index in range(len(waves)) if not long[index]]
    for batch in batches([len(waves[index]) for index in short], batch_size, model):
        rows = encode_batch(model, [waves[short[i]] for i in batch], level, precision, pooling)
        for i, row in zip(batch, rows, strict=True):
            results[short[i]] = row
    return results


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


def encode_batch(
    model: BYOLA, waves: Sequence[np.ndarray], level: Level, precision: Precision, pooling: Pooling = "model"
) -> list[list[np.ndarray]]:
    """Embeddings of one padded batch; each clip's are those it would have alone."""
    config, logmel, encoder = model.frontend.config, model.frontend, model.encoder
    shortest = (encoder.min_frames - 1) * config.hop_length
    # Each wave gets the front-end's centring padding by itself; only then are they brought to one length.
    padded = [
        logmel.pad(nn.functional.pad(to_device(model, wave), (0, max(0, shortest - len(wave))))) for wave in waves
    ]
    n_frames = [1 + (len(wave) - config.n_fft) // config.hop_length for wave in padded]
    log_mel = logmel.transform(nn.utils.rnn.pad_sequence(padded, batch_first=True))  # (B, F, T)
    lengths = torch.tensor(n_frames, device=log_mel.device) if len(set(n_frames)) > 1 else None
    outputs = run_encoder(model, log_mel, lengths, level, precision, pooling)
    rows = [output.cpu().numpy() for output in outputs]
    if level == "frame" and lengths is not None:
        return [[rows[0][b, : n // encoder.frame_stride]] for b, n in enumerate(n_frames)]
    return [[row[b] for row in rows] for b in range(len(waves))]


def encode_long(
    model: BYOLA, source: Path | np.ndarray, level: Level, precision: Precision, pooling: Pooling = "model"
) -> list[np.ndarray]:
    """Embeddings of audio too long for one pass: like a row of `encode_waves`."""
    blocks = wave_blocks(source, model.sample_rate, CHUNK_SECONDS)
    chunks = stream_frames(model, blocks, CHUNK_SECONDS, all_layers=level == "layers", precision=precision)
    if level == "frame":
        return [np.concatenate([frames.cpu().numpy() for (frames,) in chunks])]
    pool = TimePool("mean+max" if pooling == "model" else pooling)
    for layers in chunks:
        pool.update(layers)
    return [row.cpu().numpy() for row in pool.result()]


@torch.inference_mode()
def run_encoder(
    model: BYOLA,
    log_mel: Tensor,
    lengths: Tensor | None,
    what: Level | Literal["all_frames"],
    precision: Precision,
    pooling: Pooling = "model",
) -> list[Tensor]:
    """Normalise log-mels (B, F, T) and encode them in evaluation mode, to float32 (or the model's float64)."""
    encoder = model.encoder
    calls: dict[str, Callable[..., Tensor | list[Tensor]]] = {
        "clip": encoder,
        "frame": encoder.frames,
        "layers": encoder.layers,
        "all_frames": encoder.layer_frames,
    }
    _check_choice("precision", precision, PRECISIONS)
    # What an encoder does unasked is mean+max, as for audio in pieces: see `AudioEncoder`.
    options = {} if pooling == "model" or what not in ("clip", "layers") else {"pooling": pooling}
    autocast = torch.autocast(log_mel.device.type, torch.bfloat16, enabled=precision == "bf16")
    with evaluating(model), full_precision(), autocast:
        output = calls[what](model.encoder_input(log_mel), lengths, **options)
    outputs = output if isinstance(output, list) else [output]
    return [x if x.dtype == torch.float64 else x.float() for x in outputs]


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


def to_device(model: BYOLA, wave: np.ndarray) -> Tensor:
    """A wave as a tensor of the model's device and precision."""
    dtype = next(model.encoder.parameters()).dtype
    return torch.from_numpy(np.ascontiguousarray(wave)).to(model.device, dtype)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name} is one of {', '.join(choices)}, not {value!r}")
