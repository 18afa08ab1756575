"""training.fast: the fast path trains as the plain one does; what stands in its way is said once, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from byol_a.encoders.base import AudioEncoder
from byol_a.errors import UsageError
from byol_a.kernels import kernels_for, why_none

from .small import byol_a
from .test_trainer import batch, trainer

CPU = torch.device("cpu")
needs_kernels = pytest.mark.skipif(kernels_for(CPU) is None, reason=f"the CPU has no kernels: {why_none(CPU)}")
LAYER_NORM = "encoder.options={embedding_dim: 16, norm: layer}"


def losses(*overrides: str, steps: int = 6) -> list[float]:
    """Of the first steps, without dropout, whose masks differ between the paths."""
    training = trainer(*overrides)
    for module in training.method.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return [training.train_step([batch(step)]).loss.item() for step in range(steps)]


@needs_kernels
@pytest.mark.parametrize("method", ["byol", "tribyol"])
def test_both_paths_train_alike(method: str) -> None:
    fast, plain = (losses(f"method={method}", f"training.fast={fast}") for fast in ("on", "off"))
    assert fast == pytest.approx(plain, rel=1e-3)
    assert fast != plain


@needs_kernels
@pytest.mark.parametrize("fast", ["auto", "on", "off"])
def test_online_and_target_take_the_same_path(fast: str) -> None:
    training = trainer(f"training.fast={fast}")
    chosen = [module.fast for module in training.method.modules() if isinstance(module, AudioEncoder)]
    assert chosen == [fast != "off"] * 2
    assert training.remark is None


def test_an_obstacle_is_a_remark_or_an_error() -> None:
    training = trainer(LAYER_NORM)
    assert training.remark is not None and "no norm but batch norm" in training.remark
    assert trainer(LAYER_NORM, "training.fast=off").remark is None
    with pytest.raises(UsageError, match=r"fast=on is not possible here, because .*batch norm.*; use fast=auto"):
        trainer(LAYER_NORM, "training.fast=on")
    assert "training.compile takes its place" in str(trainer("training.compile=true").remark)


def test_the_command_says_it_in_one_line(small_recipe: Path, tmp_path: Path) -> None:
    arguments = ("pretrain", "--recipe", small_recipe, "--data", "synth", "--device", "cpu", "--steps", 2, LAYER_NORM)
    done = byol_a(*arguments, "--out", tmp_path / "auto")
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("the plain path is taken instead of the fast one") == 1
    done = byol_a(*arguments, "--out", tmp_path / "on", "training.fast=on")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("byol-a: error: fast=on is not possible here, because")
    assert not (tmp_path / "on").exists()
    done = byol_a(*arguments, "--out", tmp_path / "wrong", "training.fast=maybe")
    assert done.returncode == 2 and "training.fast" in done.stderr
