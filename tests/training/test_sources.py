"""What a run sees is a function of the seed and the position, whatever the processes, parts and workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from byol_a.config import build
from byol_a.data.sampling import EpochOrder
from byol_a.errors import UsageError
from byol_a.training.clip_list import ClipList
from byol_a.training.config import PretrainConfig
from byol_a.training.distributed import Processes
from byol_a.training.pipeline import mix_seeds
from byol_a.training.sources import ClipSource, StreamSampler, SynthTrainingSource, resolve_workers, shares

from .small import values


def config(batch_size: int = 8, accumulate: int = 1, workers: int = 0) -> PretrainConfig:
    small = values()
    small["training"] |= {"batch_size": batch_size, "accumulate": accumulate}
    small["data"]["workers"] = workers
    return build(PretrainConfig, small, "test")


def process(rank: int = 0, world_size: int = 1) -> Processes:
    return Processes(rank, world_size, torch.device("cpu"))


@pytest.fixture
def files(tmp_path: Path, write_wav: Callable[..., Path]) -> list[Path]:
    return [write_wav(tmp_path / f"{n}.wav", seconds=1.0 + n / 10, seed=n) for n in range(5)]


def steps(source: ClipSource | SynthTrainingSource, first: int, last: int, parts: int = 1) -> list[torch.Tensor]:
    """The whole batches of optimiser steps, parts joined."""
    waves = [batch.wave for batch in source.batches(first, last)]
    return [torch.cat(waves[n : n + parts]) for n in range(0, len(waves), parts)]


def test_every_epoch_is_a_permutation_and_batches_run_over_its_end() -> None:
    sampler = StreamSampler(EpochOrder(5, seed=1), batch_size=3, parts=[slice(0, 3)])
    sampler.span(0, 10)
    keys = [key for batch in sampler for key in batch]
    assert len(keys) == 30
    assert [len(batch) for batch in sampler] == [3] * 10
    for epoch in range(6):
        indices = [index for number, index, repeat in keys if number == epoch]
        assert sorted(indices) == [0, 1, 2, 3, 4]
    assert keys[:5] != keys[5:10]


def test_a_stream_goes_on_anywhere() -> None:
    whole = StreamSampler(EpochOrder(7, 3), 4, [slice(0, 4)])
    whole.span(0, 9)
    rest = StreamSampler(EpochOrder(7, 3), 4, [slice(0, 4)])
    rest.span(5, 9)
    assert list(whole)[5:] == list(rest)
    other = StreamSampler(EpochOrder(7, 4), 4, [slice(0, 4)])
    other.span(0, 9)
    assert list(whole) != list(other)


def test_weighted_epochs_name_the_crops_of_one_clip() -> None:
    sampler = StreamSampler(EpochOrder(4, 0, weights=np.array([1.0, 5.0, 2.0, 0.0])), 8, [slice(0, 8)])
    sampler.span(0, 4)
    keys = [key for batch in sampler for key in batch]
    assert len(set(keys)) == len(keys) == 32
    assert {index for _, index, _ in keys} == {0, 1, 2}
    assert max(repeat for _, _, repeat in keys) >= 1


@pytest.mark.parametrize("kind", ["files", "synth"])
@pytest.mark.parametrize(("world_size", "accumulate"), [(2, 1), (1, 2), (2, 2)])
def test_processes_and_parts_share_the_same_batches(
    kind: str, world_size: int, accumulate: int, files: list[Path]
) -> None:
    def source(settings: PretrainConfig, processes: Processes) -> ClipSource | SynthTrainingSource:
        if kind == "synth":
            return SynthTrainingSource(settings, processes)
        return ClipSource(ClipList.of_files(files), settings, processes)

    alone = steps(source(config(), process()), 0, 3)
    settings = config(accumulate=accumulate)
    for step, expected in enumerate(alone):
        joined = torch.empty_like(expected)
        for rank in range(world_size):
            for batch in source(settings, process(rank, world_size)).batches(step, step + 1):
                joined[batch.clips] = batch.wave
        torch.testing.assert_close(joined, expected, rtol=0, atol=1e-6 if kind == "synth" else 0)


def test_workers_change_nothing(files: list[Path]) -> None:
    one = steps(ClipSource(ClipList.of_files(files), config(workers=0), process()), 2, 5)
    two = steps(ClipSource(ClipList.of_files(files), config(workers=2), process()), 2, 5)
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a, b)


def test_a_bad_file_is_reported_and_the_batch_stays_full(files: list[Path]) -> None:
    files[2].write_bytes(b"no audio at all")
    source = ClipSource(ClipList.of_files(files), config(), process())
    batches = steps(source, 0, 3)
    assert [len(batch) for batch in batches] == [8] * 3
    assert [path for path, _ in source.report.items()] == [str(files[2])]


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(UsageError, match="choose a multiple of 3"):
        shares(config(), process(0, 3))
    with pytest.raises(UsageError, match="at least 16"):
        shares(config(), process(0, 8))


def test_seeds_are_mixed_and_workers_resolved() -> None:
    seeds = {mix_seeds(a, b) for a in range(50) for b in range(50)}
    assert len(seeds) == 2500
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert resolve_workers(3) == 3
    assert 1 <= resolve_workers("auto") <= 8
