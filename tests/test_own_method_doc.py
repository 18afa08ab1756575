"""docs/own-method.md is run as it stands: its method trains by its recipe, and is the loss that it says."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from byol_a import BYOLA
from byol_a.cli import main
from byol_a.config import apply_overrides, build
from byol_a.encoders import create_encoder
from byol_a.errors import UsageError
from byol_a.recipes import read_recipe
from byol_a.training.config import PretrainConfig

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = (ROOT / "docs" / "own-method.md").read_text(encoding="utf-8")
MODULE = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)[0]
RECIPE = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)[0]
COMMAND = re.findall(r"^byol-a (pretrain .*)$", DOCUMENT, re.MULTILINE)[0]

SMALL = [
    *("encoder.options.hidden_dim=24", "encoder.options.channels=4", "method.projector.hidden=16"),
    *("method.projector.out=6", "training.batch_size=6", "training.precision=float32", "training.log_every=1"),
    *("normalization.crops=6", "data.workers=0"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader would work: with the module and the recipe."""
    (tmp_path / "barlow_twins.py").write_text(MODULE)
    (tmp_path / "barlow_twins.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "barlow_twins", raising=False)
    return tmp_path


@pytest.fixture
def module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module("barlow_twins")


def test_the_command_trains_the_method(folder: Path, write_wav: Callable[..., Path]) -> None:
    for number in range(6):
        write_wav(folder / "recordings" / f"{number}.wav", seed=number)
    with pytest.raises(SystemExit) as ended:
        main([*shlex.split(COMMAND), "--device", "cpu", "--steps", "3", *SMALL])
    assert not ended.value.code
    rows = [json.loads(line) for line in (folder / "runs/barlow/metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 3 and all(
        np.isfinite([row["loss"], row["correlation"], row["redundancy"]]).all() for row in rows
    )
    (folder / "barlow_twins.py").unlink()  # the model needs it no more
    assert BYOLA.from_pretrained(folder / "runs/barlow/model").encode(folder / "recordings/0.wav").shape == (88,)


def test_the_module_is_short_and_its_loss_is_what_it_says(module: ModuleType) -> None:
    assert len(MODULE.splitlines()) <= 60
    config = module.BarlowTwinsConfig(projector=module.HeadConfig(hidden=8, out=5), redundancy=0.3)
    torch.manual_seed(0)
    method = module.BarlowTwins(create_encoder("AudioNTT2020", 16, embedding_dim=16), config)
    output = method(torch.randn(2, 12, 1, 16, 16))
    z1, z2 = (projection.double().numpy() for projection in output.projections)
    correlation = np.corrcoef(z1, z2, rowvar=False)[:5, 5:]
    other = ~np.eye(5, dtype=bool)
    expected = ((1 - np.diag(correlation)) ** 2).sum() + 0.3 * (correlation[other] ** 2).sum()
    assert output.loss.item() == pytest.approx(expected, rel=1e-3)  # batch norm's epsilon
    output.loss.backward()
    assert all(parameter.grad is not None for parameter in method.parameters())


def test_a_misspelt_key_of_the_method_is_refused_with_the_one_meant(folder: Path) -> None:
    values = apply_overrides(read_recipe("pretrain", "barlow_twins.yaml"), ["method.redundnacy=1"])
    with pytest.raises(UsageError, match=r"method\.redundnacy.*did you mean 'redundancy'"):
        build(PretrainConfig, values, "barlow_twins.yaml")
