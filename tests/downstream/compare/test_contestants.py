"""From arguments to recipes and variants of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from byol_a.errors import UsageError
from downstream.compare.contestants import (
    RANDOM,
    choose_baseline,
    controls_for,
    read_contestants,
    reference_of,
)


def test_a_variant_changes_what_it_says_and_commas_within_values_stay(recipe: Path) -> None:
    argument = f"{recipe}:augment.random_resize_crop.freq_scale=[0.7, 1.2],method.tau=0.5"
    plain, variant = read_contestants([str(recipe), argument, str(recipe)], ["method.tau=0.9"], clips=100)
    assert plain.label == "small" and plain.config.method.tau == 0.9
    assert variant.label == "small:augment.random_resize_crop.freq_scale=[0.7, 1.2],method.tau=0.5"
    assert variant.config.method.tau == 0.5  # its own word wins over everybody's
    assert tuple(variant.config.augment.random_resize_crop.freq_scale) == (0.7, 1.2)
    assert plain.config.training.steps == 100 // 8
    assert "/" not in variant.folder and plain.folder == "small"
    assert plain.run_config(7).training.seed == 7


def test_an_override_is_for_the_recipes_that_have_the_key(recipe: Path) -> None:
    arguments = [str(recipe), f"{recipe}:method.predictor=none"]
    mlp, none = read_contestants(arguments, ["method.predictor.hidden=24", "encoder.options.embedding_dim=32"], None)
    assert mlp.config.method.predictor.hidden == 24
    # Not the MLP that a section made of one key would stand for.
    assert none.config.method.predictor.name == "none"
    assert none.config.encoder.options == {"embedding_dim": 32}
    assert mlp.is_plain_byol and not none.is_plain_byol


@pytest.mark.parametrize(
    ("arguments", "overrides", "clips", "words"),
    [
        (["byola_v3"], [], None, "did you mean 'byola_v2'"),
        (["byola_v2"], ["optimizer.learning_rate=1"], None, "unknown key 'optimizer.learning_rate'"),
        (["byola_v2"], ["optimizer.lr=-1"], None, "optimizer.lr must be positive"),
        (["byola_v2:method.tao=1"], [], None, "did you mean 'tau'"),
        (["byola_v2:"], [], None, "RECIPE:KEY=VALUE"),
        (["byola_v2"], [], 255, "less than one batch of byola_v2, which has 256"),
        (["byola_v2", "./byola_v2.yaml"], [], None, "byola_v2 and ./byola_v2.yaml would share the folder"),
        (["demo:data.root=a+b", "demo:data.root=a/b"], [], None, "would share the folder"),
    ],
)
def test_wrong_use_is_said(
    arguments: list[str],
    overrides: list[str],
    clips: int | None,
    words: str,
    recipe: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(recipe.parent)
    recipe.rename("byola_v2.yaml")
    with pytest.raises(UsageError, match=words.replace("(", r"\(")):
        read_contestants(arguments, overrides, clips)


def test_who_is_compared_with_whom(recipe: Path) -> None:
    arguments = [
        f"{recipe}:method.loss=ccsl",
        str(recipe),
        f"{recipe}:training.batch_size=4",
        f"{recipe}:method.name=tribyol,training.batch_size=4",
        f"{recipe}:encoder.options.embedding_dim=8,training.batch_size=2",
    ]
    everybody = read_contestants(arguments, [], None)
    ccsl, plain, small_batch, triple, other = everybody
    baseline = choose_baseline(everybody, None)
    assert baseline is plain and choose_baseline(everybody[:1], None) is ccsl
    assert reference_of(ccsl, everybody, baseline) is plain
    assert reference_of(triple, everybody, baseline) is small_batch
    assert reference_of(small_batch, everybody, baseline) is plain  # not itself, which would say nothing
    assert reference_of(other, everybody, baseline) is plain
    assert choose_baseline(everybody, ccsl.label) is ccsl
    with pytest.raises(UsageError, match="--baseline byol is none of the recipes"):
        choose_baseline(everybody, "byol")
    first, second = controls_for(everybody)
    assert first.label == f"{RANDOM}: {ccsl.label}" and second.config.encoder == other.config.encoder
    assert first.control and [each.label for each in controls_for(everybody[:4])] == [RANDOM]


def test_plain_byol_has_batch_norms_everywhere(recipe: Path) -> None:
    changes = [
        "method.projector.norm.kind=layer",
        "method.predictor.norm.kind=none",
        "encoder.options.norm=none",
        "encoder.options.weight_standardization=true",
    ]
    plain, *others = read_contestants([str(recipe), *(f"{recipe}:{change}" for change in changes)], [], None)
    assert plain.is_plain_byol and not any(each.is_plain_byol for each in others)


def test_a_reference_is_the_like_of_the_baseline_but_for_batch_and_rate(recipe: Path) -> None:
    arguments = [
        str(recipe),
        f"{recipe}:method.loss=ccsl,training.batch_size=4",
        f"{recipe}:training.batch_size=4,optimizer.name=sgd",
        f"{recipe}:training.batch_size=4,method.projector.hidden=64",
        f"{recipe}:training.batch_size=4,optimizer.lr=0.1",
    ]
    everybody = read_contestants(arguments, [], None)
    assert reference_of(everybody[1], everybody, everybody[0]) is everybody[4]
    assert reference_of(everybody[1], everybody[:4], everybody[0]) is everybody[0]


def test_untrained_networks_that_differ_have_folders_of_their_own(recipe: Path) -> None:
    def folder(*overrides: str) -> str:
        (control,) = controls_for(read_contestants([str(recipe)], overrides, None))
        assert control.label == RANDOM
        return control.folder

    plain = folder()
    assert plain == folder("training.batch_size=4", "method.tau=0.5", "data.workers=3")
    changes = (
        "encoder.options.embedding_dim=8",
        "frontend.n_mels=32",
        "normalization.crops=9",
        "data.crop_seconds=0.7",
    )
    assert len({plain, *map(folder, changes)}) == 5
