"""Normalisation statistics of a set of clips, from random crops of them."""

from __future__ import annotations

import numpy as np
import torch

from byol_a.data.crops import Key, RandomCrops, from_int16
from byol_a.data.loader import load_crops
from byol_a.data.report import FileReport
from byol_a.data.sampling import EpochOrder
from byol_a.frontend import LogMel
from byol_a.normalize import NormStats, StatsAccumulator
from byol_a.progress import Progress

FEWEST_CROPS = 1000


def crop_statistics(
    crops: RandomCrops,
    frontend: LogMel,
    limit: int = 10_000,
    batch_size: int = 64,
    weights: np.ndarray | None = None,
    num_workers: int = 0,
    report: FileReport | None = None,
    progress: bool = True,
    device: str | torch.device = "cpu",
) -> NormStats:
    """Mean and standard deviation of the log-mels of random crops (BYOL-A v2, arXiv 2204.07402, section III).

    One crop per clip, of at most `limit` clips drawn at random; few clips are gone through again until there
    are 1,000 crops (or `limit`, if less). The result depends on the clips, the crops' seed, the weights and `limit`
    only.

    Args:
        crops: the training crops.
        frontend: turns crops (B, S) into log-mels (B, F, T).
        limit: the most crops to look at.
        weights: how often each clip is drawn, as float64 (N,), where training draws clips by weight.
        batch_size: crops turned into log-mels at once.
        num_workers: processes that read audio.
        report: told of files that cannot be used.
        progress: whether to say how far it is.
        device: where the log-mels are computed.

    Raises:
        ByolaError: if no usable file is found for a crop.
    """
    n_crops = min(limit, max(len(crops), FEWEST_CROPS))
    order = EpochOrder(len(crops), crops.seed, weights)
    keys: list[Key] = []
    for epoch in range(-(-n_crops // order.size)):
        indices, repeats = order.epoch(epoch)
        places = range(min(order.size, n_crops - len(keys)))
        keys += [(epoch, int(indices[place]), int(repeats[place])) for place in places]
    batches = [keys[first : first + batch_size] for first in range(0, n_crops, batch_size)]
    statistics = StatsAccumulator()
    with Progress("statistics", total=n_crops, unit="crop", enabled=progress) as bar, torch.inference_mode():
        for waves, problems in load_crops(crops, batches, num_workers):
            statistics.update(frontend(from_int16(waves.to(device))))
            if report is not None:
                report.extend(problems)
            bar.advance(len(waves))
    return statistics.result()
