"""The folder of a run with any of its files damaged or made up: it is resumed and exported, or an error says so."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from byol_a.config import build
from byol_a.errors import ByolaError
from byol_a.training.config import PretrainConfig
from byol_a.training.export import export
from byol_a.training.pretrain import pretrain, resume
from byol_a.training.run_folder import RunFolder
from tests.training.small import values

from .budget import fuzz, memory_limit, time_limit
from .json_values import VALUES, changed, dump, places, variations
from .mutations import Mutation, mutate, mutations

LAST = "checkpoints/last.pt"
FILES = ["config.yaml", "run.json", "clips.parquet", "metrics.jsonl", LAST]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("run")
    (home / "data").mkdir()
    for seed in range(3):
        wave = np.random.default_rng(seed).uniform(-0.5, 0.5, 9000)
        soundfile.write(home / "data" / f"{seed}.wav", wave, 16000)
    recipe = values()
    recipe["training"] |= {"steps": 1, "batch_size": 2}
    recipe["data"] |= {"workers": 0}
    recipe["normalization"] = {"crops": 4}
    recipe["augment"]["mixup"]["memory"] = 4
    pretrain(build(PretrainConfig, recipe, "the recipe"), [home / "data"], home / "run", device="cpu")
    return home / "run"


@cache
def original(run: Path) -> dict[str, bytes]:
    """The files as they were written, when this is first called."""
    return {name: (run / name).read_bytes() for name in FILES}


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    with memory_limit():
        yield


def check(run: Path, files: dict[str, bytes]) -> bool:
    for name, data in (original(run) | files).items():
        (run / name).write_bytes(data)
    for name in ("previous.pt", "last.pt.damaged"):
        (run / "checkpoints" / name).unlink(missing_ok=True)
    shutil.rmtree(run / "model", ignore_errors=True)
    good = True
    with time_limit():
        for use in (lambda: export(run, run / "model"), lambda: read(run)):
            try:
                use()
            except ByolaError as error:
                assert len(str(error).splitlines()) == 1
                good = False
    return good


def read(run: Path) -> None:
    folder = RunFolder(run)
    config = folder.config()
    folder.clips()
    # What was asked for may be a large network or many steps by now: that is tried in the test below.
    if config == build(PretrainConfig, yaml.safe_load(original(run)["config.yaml"]), "the original"):
        resume(config, run, device="cpu")


def sealed(snapshot: Any) -> bytes:
    """A checkpoint of any content, with the checksum that belongs to it."""
    stream = io.BytesIO()
    torch.save(snapshot, stream)
    digest = hashlib.blake2b(stream.getvalue(), digest_size=32).hexdigest()
    return stream.getvalue() + b"byol-a checkpoint, BLAKE2b " + digest.encode()


@fuzz(20)
@given(name=st.sampled_from(FILES), changes=mutations([]))
def test_damaged_files(run: Path, name: str, changes: list[Mutation]) -> None:
    check(run, {name: mutate(original(run)[name], changes)})


@fuzz(20)
@given(data=st.data())
def test_another_description(run: Path, data: st.DataObject) -> None:
    check(run, {"run.json": dump(data.draw(variations(json.loads(original(run)["run.json"]))))})


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")  # torch, of a list that was a tensor
@fuzz(20)
@given(data=st.data())
def test_another_snapshot(run: Path, data: st.DataObject) -> None:
    snapshot = torch.load(io.BytesIO(original(run)[LAST]), weights_only=True)
    path = data.draw(st.sampled_from(places(snapshot)))
    value = data.draw(st.one_of(VALUES, st.integers(0, 9).map(torch.ones), st.just(torch.tensor(torch.nan))))
    check(run, {LAST: sealed(changed(snapshot, path, value))})


def test_undamaged_it_is_resumed_and_exported(run: Path) -> None:
    assert check(run, {})
