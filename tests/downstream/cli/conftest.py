"""A model small enough to score in a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from byol_a import BYOLA, FrontendConfig, NormStats


@pytest.fixture
def model(tmp_path: Path) -> Path:
    options = {"embedding_dim": 32}
    BYOLA("AudioNTT2020", options, FrontendConfig(), NormStats(-7.0, 4.0)).save_pretrained(tmp_path / "model")
    return tmp_path / "model"
