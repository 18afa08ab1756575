"""Turning many pieces of audio into embeddings: reading ahead, batching by length, pooling."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from byol_a.data.io import open_audio, resample, stream_audio, to_mono
from byol_a.device import PRECISIONS, Precision
from byol_a.errors import AudioError, UsageError
from byol_a.frontend.precision import full_precision
from byol_a.progress import Progress
from byol_a.streaming import TimePool, stream_frames

if TYPE_CHECKING:
    from byol_a.model import BYOLA

Level: TypeAlias = Literal["clip", "frame", "layers"]
AudioInput: TypeAlias = "str | Path | np.ndarray | Tensor | tuple[np.ndarray | Tensor, float]"
OnError: TypeAlias = Callable[[str, AudioError], None]
Item = TypeVar("Item")

LONG_SECONDS = 60.0  # longer audio is streamed,
CHUNK_SECONDS = 30.0  # in pieces of this length
BATCH_SECONDS = {"cpu": 40.0, "cuda": 1200.0}  # audio in one batch, padding included: bounds the activations
GROUP_SECONDS, GROUP_SIZE = 300.0, 256  # audio held in memory and sorted by length at once
READERS, READ_AHEAD = 2, 32


@dataclass(frozen=True)
class LongFile:
    """A file to be streamed rather than held; `samples` at the model's rate."""

    path: Path
    samples: int


Loaded: TypeAlias = "np.ndarray | LongFile | AudioError"


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
) -> Any:
    """`BYOLA.encode`; see there."""
    _check_choice("level", level, ("clip", "frame", "layers"))
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
        loaded = read_ahead(lambda key: load(items[key], model.sample_rate, names[key]), range(len(items)))
        for group in ahead(groups(loaded, model.sample_rate)):
            waves = {key: audio for key, audio in group if isinstance(audio, np.ndarray)}
            encoded = encode_waves(model, list(waves.values()), level, batch_size, precision)
            results_of = dict(zip(waves, encoded, strict=True))
            for key, audio in group:
                try:
                    if isinstance(audio, AudioError):
                        raise audio
                    if isinstance(audio, LongFile):
                        results[key] = encode_long(model, audio.path, level, precision)
                    else:
                        results[key] = results_of[key]
                except AudioError as error:
                    if on_error == "raise":
                        raise
                    on_error(names[key], error)
            progress.advance(len(group))
    return _collect(model, results, level, convert_to, single)


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


# ------------------------------------------------------------------------------------------------- audio in


def is_single(inputs: Any) -> bool:
    """Whether `inputs` is one piece of audio rather than a sequence of them."""
    if isinstance(inputs, str | Path | np.ndarray | Tensor):
        return True
    return isinstance(inputs, tuple) and len(inputs) == 2 and isinstance(inputs[1], int | float | np.number)


def load(source: AudioInput, sample_rate: int, name: str) -> Loaded:
    """One input as a wave (S,) at `sample_rate`, as `LongFile`, or the reason why it cannot be used."""
    try:
        if not isinstance(source, str | Path):
            return _as_wave(source, sample_rate, name)
        with open_audio(source) as audio:
            samples = audio.samples_at(sample_rate)
            if samples > LONG_SECONDS * sample_rate:
                return LongFile(Path(source), samples)
            return audio.whole(sample_rate)
    except AudioError as error:
        return error


def _as_wave(source: Any, sample_rate: int, name: str) -> np.ndarray:
    is_pair = isinstance(source, tuple) and is_single(source)
    wave, rate = source if is_pair else (source, sample_rate)
    if isinstance(wave, Tensor):
        wave = wave.detach().cpu().numpy()
    if not isinstance(wave, np.ndarray):
        raise UsageError(f"{name} is a {type(wave).__name__}; give a path, an array or tensor, or a pair (array, rate)")
    if wave.ndim != 1 and not is_pair:
        raise UsageError(
            f"{name} has the shape {wave.shape}; give a wave as (S,), several waves as a list, or a sound of "
            f"several channels as a pair (array, rate)"
        )
    wave = to_mono(wave)
    if not len(wave):
        raise AudioError(name, "empty")
    if not np.isfinite(wave).all():
        raise AudioError(name, "contains NaN or infinity")
    return resample(wave, int(rate), sample_rate)


def wave_blocks(source: Any, sample_rate: int, block_seconds: float) -> Iterator[np.ndarray]:
    """The blocks (s,) of a file or of a wave at `sample_rate`."""
    if isinstance(source, str | Path):
        yield from stream_audio(source, sample_rate, block_seconds)
        return
    wave = _as_wave(source, sample_rate, "the input")
    step = max(1, round(block_seconds * sample_rate))
    for start in range(0, len(wave), step):
        yield wave[start : start + step]


def read_ahead(load: Callable[[Item], Loaded], items: Iterable[Item]) -> Iterator[tuple[Item, Loaded]]:
    """`(item, load(item))` in order, while threads already load the next ones.

    Decoding and resampling release the interpreter's lock, so threads are enough.
    """
    waiting: deque[tuple[Item, Future[Loaded]]] = deque()
    with ThreadPoolExecutor(READERS, thread_name_prefix="read-audio") as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(load, item)))
                if len(waiting) >= READ_AHEAD:
                    key, future = waiting.popleft()
                    yield key, future.result()
            while waiting:
                key, future = waiting.popleft()
                yield key, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def groups(loaded: Iterable[tuple[Item, Loaded]], sample_rate: int) -> Iterator[list[tuple[Item, Loaded]]]:
    """Consecutive items, as many as may be held in memory at once; batches are made within a group."""
    group: list[tuple[Item, Loaded]] = []
    held = 0
    for item, audio in loaded:
        group.append((item, audio))
        held += len(audio) if isinstance(audio, np.ndarray) else 0
        if len(group) >= GROUP_SIZE or held >= GROUP_SECONDS * sample_rate:
            yield group
            group, held = [], 0
    if group:
        yield group


def ahead(iterator: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made by a thread while the one before is in use."""
    with ThreadPoolExecutor(1, thread_name_prefix="read-group") as pool:
        upcoming = pool.submit(next, iterator, None)
        while (item := upcoming.result()) is not None:
            upcoming = pool.submit(next, iterator, None)
            yield item


# ------------------------------------------------------------------------------------- audio to embeddings


def encode_waves(
    model: BYOLA, waves: Sequence[np.ndarray], level: Level, batch_size: int, precision: Precision
) -> list[list[np.ndarray]]:
    """Embeddings of waves (S,) at the model's rate, in order: each a list of one array, or one per layer."""
    limit = LONG_SECONDS * model.sample_rate
    results = [encode_long(model, wave, level, precision) if len(wave) > limit else [] for wave in waves]
    short = [index for index, wave in enumerate(waves) if len(wave) <= limit]
    for batch in batches([len(waves[index]) for index in short], batch_size, model):
        rows = encode_batch(model, [waves[short[i]] for i in batch], level, precision)
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
    model: BYOLA, waves: Sequence[np.ndarray], level: Level, precision: Precision
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
    outputs = run_encoder(model, log_mel, lengths, level, precision)
    rows = [output.cpu().numpy() for output in outputs]
    if level == "frame" and lengths is not None:
        return [[rows[0][b, : n // encoder.frame_stride]] for b, n in enumerate(n_frames)]
    return [[row[b] for row in rows] for b in range(len(waves))]


def encode_long(model: BYOLA, source: Path | np.ndarray, level: Level, precision: Precision) -> list[np.ndarray]:
    """Embeddings of audio too long for one pass: like a row of `encode_waves`."""
    blocks = wave_blocks(source, model.sample_rate, CHUNK_SECONDS)
    chunks = stream_frames(model, blocks, CHUNK_SECONDS, all_layers=level == "layers", precision=precision)
    if level == "frame":
        return [np.concatenate([frames.cpu().numpy() for (frames,) in chunks])]
    pool = TimePool()
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
    autocast = torch.autocast(log_mel.device.type, torch.bfloat16, enabled=precision == "bf16")
    with evaluating(model), full_precision(), autocast:
        output = calls[what](model.encoder_input(log_mel), lengths)
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
