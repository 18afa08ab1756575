"""A model folder damaged in any way: it loads and works, or an error says so; nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from byol_a import BYOLA, ByolaError, FrontendConfig, NormStats
from byol_a.model import CONFIG, WEIGHTS
from byol_a.modelcard import model_card

from .budget import fuzz, memory_limit, time_limit
from .json_values import dump, variations
from .mutations import Mutation, mutate, mutations


def small_model() -> BYOLA:
    torch.manual_seed(0)
    return BYOLA("AudioNTT2022", {"hidden_dim": 4}, FrontendConfig(n_mels=8), NormStats(-7.0, 4.0))


CONFIGURATION = small_model().config


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model"
    small_model().save_pretrained(path)
    return path


@cache
def original(folder: Path) -> dict[str, bytes]:
    """The files as they were saved, when this is first called."""
    return {name: (folder / name).read_bytes() for name in (CONFIG, WEIGHTS)}


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    with memory_limit():
        yield


def check(folder: Path, **files: bytes) -> None:
    for name, data in (original(folder) | files).items():
        (folder / name).write_bytes(data)
    with time_limit():
        try:
            model = BYOLA.from_pretrained(folder)
        except ByolaError as error:
            assert "\n" not in str(error) and len(str(error)) < 5000
            return
        # What loaded is a model: it takes sound, and can be saved and told from others.
        if model.sample_rate < 10**6 and model.frontend.config.n_fft < 10**5:
            assert model.encode(np.zeros(4000, np.float32)).shape == (model.embedding_dim,)
        assert len(model.fingerprint()) == 32
        model_card(json.loads(json.dumps(model.config)), model.embedding_dim)


@fuzz(250)
@given(config=variations(CONFIGURATION))
def test_another_config(folder: Path, config: Any) -> None:
    check(folder, **{CONFIG: dump(config)})


@fuzz(100)
@given(changes=mutations([]))
def test_a_damaged_config(folder: Path, changes: list[Mutation]) -> None:
    check(folder, **{CONFIG: mutate(original(folder)[CONFIG], changes)})


@fuzz(300)
@given(changes=mutations([]))
def test_damaged_weights(folder: Path, changes: list[Mutation]) -> None:
    check(folder, **{WEIGHTS: mutate(original(folder)[WEIGHTS], changes)})


@fuzz(150)
@given(data=st.data())
def test_weights_with_another_header(folder: Path, data: st.DataObject) -> None:
    weights = original(folder)[WEIGHTS]
    size = int.from_bytes(weights[:8], "little")
    header = dump(data.draw(variations(json.loads(weights[8 : 8 + size]))))
    check(folder, **{WEIGHTS: len(header).to_bytes(8, "little") + header + weights[8 + size :]})
