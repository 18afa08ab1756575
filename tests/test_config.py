"""Configuration: recipes resolve, and what is wrong is named with its nearest neighbour."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from byol_a.config import apply_overrides, build, nearest, read_yaml, to_dict, to_yaml
from byol_a.errors import UsageError
from byol_a.methods import BYOLConfig, TriBYOLConfig
from byol_a.recipes import list_recipes, read_recipe, recipe_path
from byol_a.training.config import PretrainConfig


@dataclass
class Inner:
    rate: float = 0.5
    size: tuple[int, int] = (1, 2)


@dataclass
class Outer:
    inner: Inner | None = field(default_factory=Inner)
    name: str = "a"
    count: int = 3


def test_values_are_converted_where_nothing_is_lost() -> None:
    config = build(Outer, {"inner": {"rate": "3e-4", "size": [4, 5]}, "count": 7}, "here")
    assert config == Outer(Inner(3e-4, (4, 5)), "a", 7)
    assert build(Outer, {"inner": None}, "here").inner is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"inner": {"rat": 1}}, ["here", "'inner.rat'", "did you mean 'rate'"]),
        ({"rate": 1}, ["'rate'", "did you mean 'inner.rate'"]),
        ({"zzzzzz": 1}, ["'zzzzzz'", "known: inner, name, count"]),
        ({"inner": {"rate": "fast"}}, ["here", "inner.rate", "'fast'", "number"]),
        ({"count": 1.5}, ["count", "1.5", "integer"]),
        ({"name": 3}, ["name", "3", "string"]),
        ({"count": True}, ["count", "true", "number"]),
    ],
)
def test_an_error_names_source_key_and_neighbour(values: dict[str, object], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        build(Outer, values, "here")
    for word in words:
        assert word in str(caught.value)


def test_overrides_are_yaml_and_leave_the_original_alone() -> None:
    values = {"inner": {"rate": 0.5}}
    changed = apply_overrides(values, ["inner.size=[7, 8]", "inner.rate=1e-3", "name=b", "count=4"])
    assert build(Outer, changed, "here") == Outer(Inner(1e-3, (7, 8)), "b", 4)
    assert build(Outer, apply_overrides(values, ["inner=null"]), "here").inner is None
    assert values == {"inner": {"rate": 0.5}}


@pytest.mark.parametrize("override", ["rate", "=3", "name=[1"])
def test_a_malformed_override_is_refused(override: str) -> None:
    with pytest.raises(UsageError, match=r"override|YAML"):
        apply_overrides({}, [override])


def test_yaml_round_trip() -> None:
    config = build(Outer, {"inner": {"size": [3, 4]}}, "here")
    assert build(Outer, yaml.safe_load(to_yaml(config)), "again") == config


def test_bad_yaml_and_missing_files_are_sentences(tmp_path) -> None:  # type: ignore[no-untyped-def]
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [1")
    with pytest.raises(UsageError, match="not valid YAML"):
        read_yaml(bad)
    bad.write_bytes(b"a: \xd5\x00")
    with pytest.raises(UsageError, match="not text"):
        read_yaml(bad)
    bad.write_text("- 1")
    with pytest.raises(UsageError, match="mapping"):
        read_yaml(bad)
    with pytest.raises(UsageError, match="cannot read"):
        read_yaml(tmp_path / "absent.yaml")


@pytest.mark.parametrize("name", list(list_recipes("pretrain")))
def test_every_packaged_recipe_resolves_and_round_trips(name: str) -> None:
    config = build(PretrainConfig, read_recipe("pretrain", name), name)
    assert build(PretrainConfig, yaml.safe_load(to_yaml(config)), name) == config


def test_presets_hold_the_papers_numbers() -> None:
    v1 = to_dict(build(PretrainConfig, read_recipe("pretrain", "byola_v1"), "v1"))
    v2 = to_dict(build(PretrainConfig, read_recipe("pretrain", "byola_v2"), "v2"))
    for config, encoder, ratio, fader, lr, pad in (
        (v1, "AudioNTT2020", 0.4, None, 3e-4, "both"),
        (v2, "AudioNTT2022", 0.2, {"gain": 1.0}, 1e-4, "end"),
    ):
        assert config["encoder"]["name"] == encoder
        assert config["augment"]["mixup"] == {"max_ratio": ratio, "memory": 2048}
        assert config["augment"]["fader"] == fader
        assert config["optimizer"]["lr"] == lr
        assert config["data"]["pad"] == pad
        assert {"hidden": 4096, "out": 256}.items() <= config["method"]["projector"].items()
        assert config["method"]["predictor"]["hidden"] == 4096
        assert config["method"]["tau"] == 0.99
        assert (config["training"]["batch_size"], config["training"]["epochs"]) == (256, 100)
    assert build(PretrainConfig, v1, "v1").crop_samples == 15_200


def method_of(*overrides: str) -> Any:
    values = apply_overrides(read_recipe("pretrain", "byola_v2"), overrides)
    return build(PretrainConfig, values, "recipe byola_v2").method


def test_a_section_with_variants_is_built_as_the_one_it_names() -> None:
    assert isinstance(method_of(), BYOLConfig)
    assert method_of("method.predictor={name: newton_schulz, ridge: 0.5}").predictor.ridge == 0.5
    assert method_of("method.predictor=none").predictor.name == "none"  # a word alone: its defaults
    assert isinstance(method_of("method=tribyol"), TriBYOLConfig)
    assert method_of("method.name=tribyol", "method.tau=0.5").tau == 0.5
    third = method_of("method=tribyol", "method.tau=0.996", "method.predictor=stiefel", "method.predictor.ridge=0.5")
    assert isinstance(third, TriBYOLConfig) and third.tau == 0.996
    assert to_dict(third)["predictor"].items() >= {"name": "stiefel", "ridge": 0.5}.items()
    whole = build(PretrainConfig, {"method": "tribyol"}, "test")
    assert build(PretrainConfig, to_dict(whole), "again") == whole


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("method.predictor.hiden=3", ["method.predictor.hiden", "'hidden'"]),
        ("method.predictor=lineer", ["method.predictor", "'lineer'", "'linear'"]),
        ("method.predictor.name=stiefel", ["method.predictor.hidden", "write method.predictor=stiefel"]),
        ("method.predictor.name=3", ["method.predictor.name", "3"]),
        ("method=tribyl", ["'tribyl'", "'tribyol'"]),
        ("method.lr=3", ["method.lr", "'optimizer.lr'"]),
        ("method.predictor.hidden=many", ["method.predictor.hidden", "'many'"]),
        ("method=nowhere:Nothing", ["nowhere:Nothing", "ModuleNotFoundError"]),
        ("method=json:dumps", ["json:dumps", "no subclass"]),
        ("method=tests.methods.exits:Method", ["tests.methods.exits:Method", "SystemExit"]),
    ],
)
def test_an_error_in_a_variant_says_where(override: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        method_of(override)
    assert all(word in str(error.value) for word in words), error.value


def test_a_recipe_extends_another(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "extends: byola_v2\nmethod: {predictor: {name: linear}, tau: 0.9}\ntraining: {batch_size: 32}\n"
    )
    (tmp_path / "further.yml").write_text("extends: mine.yaml\noptimizer: {lr: 0.5}\n")
    values, base = read_recipe("pretrain", str(tmp_path / "further.yml")), read_recipe("pretrain", "byola_v2")
    assert values["method"]["predictor"] == {"name": "linear"}  # a section with a name replaces the whole one
    assert values["method"]["tau"] == 0.9
    assert values["method"]["projector"] == base["method"]["projector"]
    assert values["training"] == {**base["training"], "batch_size": 32}
    assert values["optimizer"] == {**base["optimizer"], "lr": 0.5}
    assert values["encoder"] == base["encoder"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("extends: byola_v3", "no recipe 'byola_v3'"),
        ("extends: 3", "extends cannot be 3"),
        ("extends: a.yaml", "itself"),
    ],
)
def test_a_recipe_that_extends_nothing_is_a_sentence(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UsageError, match=words):
        read_recipe("pretrain", str(tmp_path / "a.yaml"))


def test_an_unknown_recipe_names_its_neighbour() -> None:
    with pytest.raises(UsageError, match="did you mean 'byola_v2'"):
        recipe_path("pretrain", "byola-v2")
    with pytest.raises(UsageError, match="is a folder"):
        recipe_path("pretrain", "recipes/")
    with pytest.raises(UsageError, match="no recipe file"):
        recipe_path("pretrain", "somewhere/else.yaml")


def test_nearest_compares_without_case() -> None:
    assert nearest("audiontt2022", ["AudioNTT2020", "AudioNTT2022"]) == "; did you mean 'AudioNTT2022'?"


@pytest.mark.parametrize(
    "override",
    [
        "optimizer.lr=.nan",
        "optimizer.lr=.inf",
        "optimizer.clip_norm=.nan",
        "data.crop_seconds=.nan",
        "data.workers=-1",
        "training.seed=-1",
        "training.steps=true",
        "training.batch_size=1",
        "normalization.crops=0",
        "method.tau=2",
    ],
)
def test_values_that_can_never_work_are_refused(override: str) -> None:
    values = apply_overrides(read_recipe("pretrain", "byola_v2"), [override])
    with pytest.raises(UsageError):
        build(PretrainConfig, values, "recipe")


def test_a_key_inside_a_bare_word_of_an_extended_recipe_belongs_to_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("method: {name: byol, predictor: stiefel}\n")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\nmethod: {predictor: {ridge: 0.5}}\n")
    predictor = build(PretrainConfig, read_recipe("pretrain", str(tmp_path / "mine.yaml")), "mine").method.predictor  # type: ignore[attr-defined]
    assert (predictor.name, predictor.ridge) == ("stiefel", 0.5)


def test_weights_are_variational_where_the_method_learns_their_deviations() -> None:
    with pytest.raises(UsageError, match=r"encoder\.options\.variational goes with .* not with byol"):
        build(PretrainConfig, {"encoder": {"options": {"variational": True}}}, "test")
    build(PretrainConfig, {"encoder": {"options": {"variational": True}}, "method": "byov"}, "test")


def test_the_settings_of_earlier_versions_are_read(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text("extends: byola_v2\nmethod: {predictor_hidden: 48}\n")
    method = build(PretrainConfig, read_recipe("pretrain", str(tmp_path / "old.yaml")), "old").method
    assert to_dict(method)["predictor"].items() >= {"name": "mlp", "hidden": 48}.items()
