"""Batches of random crops, read by worker processes or in this one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from byol_a.data.crops import Crop, RandomCrops, collate_crops
from byol_a.errors import ByolaError


def load_crops(
    crops: RandomCrops,
    keys: Sampler[list[tuple[int, int]]] | list[list[tuple[int, int]]],
    workers: int,
    pin_memory: bool = False,
) -> Iterator[tuple[Tensor, list[tuple[str, str]]]]:
    """Read batches of crops ahead of their use, in order.

    Args:
        crops: the dataset.
        keys: for each batch its list of (epoch, index).
        workers: processes that read; 0 reads here.
        pin_memory: whether the batches should be ready for an asynchronous copy to a GPU.

    Yields:
        int16 crops (B, S), and the (path, reason) of every file that was passed over to make them.

    Raises:
        ByolaError: if no usable file is found for a crop.
    """
    loader = DataLoader(
        _Guarded(crops),
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=pin_memory,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_leave_signals_to_the_main_process,
        # The loader draws a seed for its workers: from the global generator it would shift the dropout masks
        # of a resumed run.
        generator=torch.Generator(),
    )
    iterator = iter(loader)
    try:
        for batch in iterator:
            if isinstance(batch, ByolaError):
                raise batch
            yield batch
    finally:
        # Ends the workers now. An iterator that an exception's traceback kept alive would meet the end of the
        # process with workers that wait for a second SIGTERM.
        del iterator


class _Guarded(Dataset[Crop]):
    """Crops whose error comes home from a worker as a value: raised there, it would arrive as a traceback's text."""

    def __init__(self, crops: RandomCrops) -> None:
        self._crops = crops

    def __getitems__(self, keys: list[tuple[int, int]]) -> list[Crop] | ByolaError:
        try:
            return [self._crops[key] for key in keys]
        except ByolaError as error:
            return error


def _collate(crops: list[Crop] | ByolaError) -> tuple[Tensor, list[tuple[str, str]]] | ByolaError:
    return crops if isinstance(crops, ByolaError) else collate_crops(crops)


def _leave_signals_to_the_main_process(worker: int) -> None:
    """Ctrl-C, and what a job scheduler sends, reach the whole group: the main process still needs its batches.

    A second SIGTERM ends the worker: that is how the loader clears up what does not answer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_next_time)


def _end_next_time(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
