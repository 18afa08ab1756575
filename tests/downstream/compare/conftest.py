"""A small recipe and a small labelled set, in a known set's layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from byol_a.config import build
from byol_a.training.config import PretrainConfig
from tests.training.small import RECIPE, values


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """BYOL with an MLP predictor; called `small`."""
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE.replace("workers: 1", "workers: 0"))
    return path


@pytest.fixture
def config() -> PretrainConfig:
    """The same, built."""
    return build(PretrainConfig, values(), "small")


@pytest.fixture
def digits(tmp_path: Path, write_wav: Callable[..., Path]) -> Path:
    """Spoken digits, or what could be some: three of them by three speakers."""
    for digit in range(3):
        for speaker in ("ann", "bob", "cat"):
            for index in (0, 5, 6):  # the first is an official test clip
                path = tmp_path / "sets" / "recordings" / f"{digit}_{speaker}_{index}.wav"
                write_wav(path, seconds=0.3 + 0.05 * index, sample_rate=8000, seed=100 * digit + index)
    return tmp_path / "sets"
