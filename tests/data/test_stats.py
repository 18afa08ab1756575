"""Normalisation statistics from random crops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from byol_a.data import stats
from byol_a.data.crops import RandomCrops, from_int16
from byol_a.data.report import FileReport
from byol_a.data.sampling import uniform_order
from byol_a.data.stats import crop_statistics
from byol_a.frontend import LogMel

SAMPLES = 4000


@pytest.fixture
def files(tmp_path, write_wav):
    return [write_wav(tmp_path / f"{index}.wav", seed=index) for index in range(7)]


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(stats, "FEWEST_CROPS", 20)


def test_equals_numpy_over_the_same_crops(files):
    crops, logmel = RandomCrops(files, SAMPLES, 16000, seed=3), LogMel()
    found = crop_statistics(crops, logmel, batch_size=8, progress=False)
    keys = [(position // 7, index) for position in range(14) for index in [position % 7]]
    # Two whole passes and six crops of a third: whichever these are, the first two are every file twice.
    keys += [(2, int(index)) for index in uniform_order(7, 3, 2)[:6]]
    values = logmel(from_int16(torch.stack([crops[key].wave for key in keys]))).double().numpy()
    assert found.mean == pytest.approx(np.mean(values), rel=1e-9)
    assert found.std == pytest.approx(np.std(values), rel=1e-9)


def test_depends_on_nothing_but_files_seed_and_limit(files):
    crops, logmel = RandomCrops(files, SAMPLES, 16000, seed=3), LogMel()
    state = torch.get_rng_state()
    first = crop_statistics(crops, logmel, batch_size=8, progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    for batch_size, workers in ((3, 0), (8, 2)):
        again = crop_statistics(crops, logmel, batch_size=batch_size, num_workers=workers, progress=False)
        assert again.mean == pytest.approx(first.mean, rel=1e-9)
        assert again.std == pytest.approx(first.std, rel=1e-9)
    other = crop_statistics(RandomCrops(files, SAMPLES, 16000, seed=4), logmel, progress=False)
    limited = crop_statistics(crops, logmel, limit=2, progress=False)
    assert len({first.mean, other.mean, limited.mean}) == 3


def test_bad_files_are_reported(files):
    files[2].write_bytes(b"")
    report = FileReport()
    crop_statistics(RandomCrops(files, SAMPLES, 16000, seed=0), LogMel(), report=report, progress=False)
    assert [path for path, _ in report.items()] == [str(files[2])]
