"""Turning many pieces of audio into embeddings: reading ahead, batching by length, pooling."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import numpy as np
import torch

from byol_a.batches import encode_short
from byol_a.device import Precision
from byol_a.errors import AudioError, UsageError
from byol_a.inputs import AudioInput, Loaded, ahead, groups, is_long, is_single, load, read_ahead, wave_blocks
from byol_a.passes import check_choice
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
    check_choice("level", level, ("clip", "frame", "layers"))
    check_pooling(pooling)
    check_samples(model, samples)
    check_choice("convert_to", convert_to, ("numpy", "tensor"))
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
    for group in ahead(groups(read_ahead(read, keys), model.sample_rate, model.device.type)):
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
    rows = encode_short(model, [waves[index] for index in short], level, batch_size, precision, pooling)
    for index, row in zip(short, rows, strict=True):
        results[index] = row
    return results


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
