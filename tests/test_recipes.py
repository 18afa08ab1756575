"""Every packaged recipe of pre-training is what it says, and learns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from byol_a.cli import main
from byol_a.config import apply_overrides, build, to_dict
from byol_a.encoders.norms import NormConfig
from byol_a.errors import UsageError
from byol_a.methods import METHODS, HeadConfig, MethodConfig
from byol_a.methods.losses import LOSSES, LossConfig
from byol_a.methods.predictors import PREDICTORS, MLPPredictorConfig, PredictorConfig
from byol_a.methods.regularizers import MHEConfig, UniformityConfig
from byol_a.normalize import NormStats
from byol_a.recipes import list_recipes, read_recipe, recipe_text
from byol_a.training.config import PretrainConfig
from byol_a.training.distributed import Processes
from byol_a.training.trainer import Trainer
from downstream.compare import read_contestants

DOCUMENT = (Path(__file__).resolve().parent.parent / "docs" / "methods.md").read_text(encoding="utf-8")
# Where a name stands for settings of its own, and the names there are.
VARIANTS = (
    (MethodConfig.variant, METHODS),
    (PredictorConfig.variant, PREDICTORS),
    (LossConfig.variant, LOSSES),
)

NAMES = list(list_recipes("pretrain"))
# Recipes of whole trainings; each other one is BYOL-A v2 with one piece changed.
WHOLE = {"byol", "byola_v1", "byola_v2", "demo"}
PIECES = [name for name in NAMES if name not in WHOLE]

SMALL = ["training.batch_size=4", "training.precision=float32", "augment.mixup.memory=16"]
SMALL_HEADS = ["method.projector.hidden=32", "method.projector.out=8"]
SMALL_ENCODERS = {
    "AudioNTT2020": ["encoder.options.embedding_dim=24", "encoder.options.channels=4"],
    "AudioNTT2022": ["encoder.options.hidden_dim=24", "encoder.options.channels=4"],
    "timm:resnet50": [],  # as large as it is
}


def config(name: str, *changes: str) -> PretrainConfig:
    return build(PretrainConfig, apply_overrides(read_recipe("pretrain", name), changes), name)


def small_trainer(name: str, *overrides: str) -> Trainer:
    """The recipe with small networks and batches, all its other settings left alone."""
    whole = config(name, *overrides)
    changes = [*SMALL, *SMALL_HEADS, *SMALL_ENCODERS[whole.encoder.name]]
    if isinstance(whole.method.predictor, MLPPredictorConfig):  # type: ignore[attr-defined]
        changes.append("method.predictor.hidden=32")
    small = config(name, *overrides, *changes)
    return Trainer(small, NormStats(-7.0, 4.0), Processes(0, 1, torch.device("cpu")), total_steps=10)


def random_views(trainer: Trainer) -> torch.Tensor:
    return torch.randn(trainer.method.n_views, 4, 1, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
def test_a_step_learns(name: str) -> None:
    trainer = small_trainer(name)
    assert trainer.method.encoder.n_mels == 64 and trainer.config.crop_samples == 15_200
    before = [parameter.detach().clone() for parameter in trainer.method.encoder.parameters()]
    output = trainer.update([random_views(trainer)])
    assert torch.isfinite(output.loss) and trainer.is_finite()
    assert output.embeddings.shape == (4, trainer.method.encoder.embedding_dim)
    assert [projection.shape[0] for projection in output.projections] == [4] * trainer.method.n_views
    moved = [not torch.equal(a, b) for a, b in zip(before, trainer.method.encoder.parameters(), strict=True)]
    assert sum(moved) > len(moved) / 2


@pytest.mark.parametrize("name", PIECES)
def test_a_piece_is_byola_v2_with_another_method_or_norm(name: str) -> None:
    changed = dict(_differences(to_dict(config("byola_v2")), to_dict(config(name))))
    assert changed
    for key in changed:
        assert key.startswith(("method.", "encoder.options.norm", "encoder.options.weight_standardization")), key
    # Whatever is changed, the networks, and the target's rate, stay those of BYOL-A v2.
    assert not {"method.projector.hidden", "method.projector.out", "method.tau", "method.tau_schedule"} & set(changed)


def test_byol_has_the_papers_numbers() -> None:
    byol = config("byol")
    optimizer, method = byol.optimizer, to_dict(byol.method)
    assert byol.encoder.name == "timm:resnet50" and byol.encoder.options == {}
    assert (optimizer.name, optimizer.momentum, optimizer.weight_decay) == ("lars", 0.9, 1.5e-6)
    assert optimizer.lr == 0.2 * byol.training.batch_size / 256
    assert (optimizer.schedule, optimizer.warmup_epochs, optimizer.warmup_steps) == ("cosine", 10, None)
    assert (method["projector"]["hidden"], method["projector"]["out"], method["predictor"]["hidden"]) == (
        4096,
        256,
        4096,
    )
    assert byol.training.sync_batch_norm
    assert (method["tau"], method["tau_schedule"], byol.training.epochs) == (0.99, "cosine", 100)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_comment_offers_can_be_set(name: str) -> None:
    offered = re.findall(r"\b[a-z]+(?:\.\w+)+=[\w.-]+", "\n".join(re.findall(r"#.*", recipe_text("pretrain", name))))
    changed = config(name, *(change.rstrip(".") for change in offered))
    assert (changed != config(name)) == bool(offered)


def test_the_list_has_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["recipes"])
    listed = capsys.readouterr().out.partition("\n\n")[0]
    summaries = dict(line.split(maxsplit=1) for line in listed.splitlines()[1:])
    assert list(summaries) == NAMES
    for name, summary in summaries.items():
        assert "arXiv" in summary or name == "demo"
        assert len(summary) <= 120


def test_the_document_names_every_recipe_and_setting() -> None:
    named = set(re.findall(r"[\w.]+", " ".join(re.findall(r"`[^`]*`", DOCUMENT))))
    assert set(NAMES) <= named
    sections: list[Any] = [variant(name) for variant, names in VARIANTS for name in names]
    sections += [HeadConfig, NormConfig, UniformityConfig, MHEConfig]
    for section in sections:
        assert {field.name for field in fields(section)} - {"name"} <= named, section
    for _, names in VARIANTS:
        assert set(names) <= named


@pytest.mark.parametrize("command", re.findall(r"^byol-a pretrain (.*=.*)$", DOCUMENT, re.MULTILINE))
def test_the_documents_combinations_learn(command: str) -> None:
    _, recipe, *rest = command.split()
    trainer = small_trainer(recipe, *(argument for argument in rest if "=" in argument))
    output = trainer.update([random_views(trainer)])
    assert torch.isfinite(output.loss) and trainer.is_finite()


@pytest.mark.parametrize("command", re.findall(r"^byol-a compare (.*)$", DOCUMENT.replace("\\\n", ""), re.M))
def test_the_documents_comparisons_are_of_recipes_that_there_are(command: str) -> None:
    recipes, *rest = command.partition(" --")
    overrides = [argument for argument in "".join(rest).split() if "=" in argument]
    labels = [contestant.label for contestant in read_contestants(recipes.split(), overrides, clips=1000)]
    assert labels == recipes.split()


def test_a_recipe_that_no_one_can_read_names_the_key(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: newton_schulz\nmethod: {predictor: {rigde: 0.1}}\n")
    with pytest.raises(UsageError, match=r"method\.predictor\.rigde.*did you mean 'ridge'"):
        build(PretrainConfig, read_recipe("pretrain", str(tmp_path / "mine.yaml")), "mine.yaml")


def _differences(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves that `after` has otherwise, by dotted path."""
    if isinstance(after, dict):
        for key, value in after.items():
            inner = before.get(key) if isinstance(before, dict) else None
            yield from _differences(inner, value, f"{path}.{key}".lstrip("."))
    elif before != after:
        yield path, after
