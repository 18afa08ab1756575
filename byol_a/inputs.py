"""Audio to be encoded, whatever form it comes in: loaded ahead of its use, gathered into groups."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from torch import Tensor

from byol_a.data.io import open_audio, resample, stream_audio, to_mono
from byol_a.data.worker_pool import available_cores
from byol_a.errors import AudioError, UsageError

AudioInput: TypeAlias = "str | Path | np.ndarray | Tensor | tuple[np.ndarray | Tensor, float]"
Item = TypeVar("Item")

LONG_SECONDS = 60.0  # longer audio is streamed
# Audio held in memory and sorted by length at once; a GPU has it done sooner, and pauses between two groups.
GROUP_SECONDS, GROUP_SIZE = {"cpu": 300.0, "cuda": 2400.0}, 256
READERS = min(8, max(2, available_cores()))  # a GPU outruns two of them
READ_AHEAD = 32


@dataclass(frozen=True)
class LongFile:
    """A file to be streamed rather than held; `samples` at the model's rate."""

    path: Path
    samples: int


Loaded: TypeAlias = "np.ndarray | LongFile | AudioError"


def is_single(inputs: Any) -> bool:
    """Whether `inputs` is one piece of audio rather than a sequence of them."""
    if isinstance(inputs, str | Path | np.ndarray | Tensor):
        return True
    return isinstance(inputs, tuple) and len(inputs) == 2 and isinstance(inputs[1], int | float | np.number)


def is_long(samples: int, sample_rate: int) -> bool:
    """Whether audio is to be taken in pieces rather than whole."""
    return samples > LONG_SECONDS * sample_rate


def load(source: AudioInput, sample_rate: int, name: str) -> Loaded:
    """One input as a wave (S,) at `sample_rate`, as `LongFile`, or the reason why it cannot be used."""
    try:
        if not isinstance(source, str | Path):
            return _as_wave(source, sample_rate, name)
        with open_audio(source) as audio:
            samples = audio.samples_at(sample_rate)
            if is_long(samples, sample_rate):
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
    if not float(rate).is_integer() or rate <= 0:
        raise UsageError(f"{name} has the sample rate {rate}; give it in Hz, as a positive whole number")
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


def groups(
    loaded: Iterable[tuple[Item, Loaded]], sample_rate: int, device: str = "cpu"
) -> Iterator[list[tuple[Item, Loaded]]]:
    """Consecutive items, as many as may be held in memory at once; batches for a device are made within a group."""
    seconds = GROUP_SECONDS.get(device, GROUP_SECONDS["cpu"])
    group: list[tuple[Item, Loaded]] = []
    held = 0
    for item, audio in loaded:
        group.append((item, audio))
        held += len(audio) if isinstance(audio, np.ndarray) else 0
        if len(group) >= GROUP_SIZE or held >= seconds * sample_rate:
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
