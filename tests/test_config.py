"""Configuration: recipes resolve, and what is wrong is named with its nearest neighbour."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import yaml

from byol_a.config import apply_overrides, build, nearest, read_yaml, to_dict, to_yaml
from byol_a.errors import UsageError
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
        assert config["method"]["projector"] == {"hidden": 4096, "out": 256}
        assert config["method"]["tau"] == 0.99
        assert (config["training"]["batch_size"], config["training"]["epochs"]) == (256, 100)
    assert build(PretrainConfig, v1, "v1").crop_samples == 15_200


def test_an_unknown_recipe_names_its_neighbour() -> None:
    with pytest.raises(UsageError, match="did you mean 'byola_v2'"):
        recipe_path("pretrain", "byola-v2")
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
