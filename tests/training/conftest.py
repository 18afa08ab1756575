"""What the tests of several processes share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from .launched import Launched
from .small import RECIPE


class Pair(NamedTuple):
    """What each of two processes of `two_processes.py` found, and the folder that holds their sounds."""

    first: dict[str, Any]
    second: dict[str, Any]
    folder: Path


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Run `two_processes.py` once for all tests."""
    out = tmp_path_factory.mktemp("pair")
    with Launched("-m", "tests.training.two_processes", out) as job:
        assert job.wait() == 0, job.output
    return Pair(torch.load(out / "0.pt"), torch.load(out / "1.pt"), out / "sounds")


@pytest.fixture(scope="session")
def small_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small recipe as a file."""
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def sounds(tmp_path: Path, write_wav: Callable[..., Path]) -> Path:
    """Six sounds: a batch of eight meets the end of an epoch in its middle."""
    for n in range(6):
        write_wav(tmp_path / "sounds" / f"{n}.wav", seconds=0.4 + n / 4, seed=n)
    return tmp_path / "sounds"
