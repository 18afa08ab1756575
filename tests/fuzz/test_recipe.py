"""Recipes and overrides of any content: a configuration, or a `UsageError`; nothing else, and nothing is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from byol_a.config import apply_overrides, build, to_dict, to_yaml
from byol_a.errors import UsageError
from byol_a.recipes import list_recipes, read_recipe, recipe_text
from byol_a.training.config import PretrainConfig

from .budget import fuzz, memory_limit, time_limit
from .json_values import variations
from .mutations import Mutation, mutate, mutations

NAMES = sorted(list_recipes("pretrain"))
PLAIN = to_dict(build(PretrainConfig, read_recipe("pretrain", NAMES[0]), "the recipe"))
ODD = [
    b"!!python/object/apply:os.mkdir [trap]",
    b"&a [*a]",
    b"2026-99-99",
    b"0x_",
    b"? [1]",
    b"!!binary x",
    b"!!set {a}",
]
ODD += [b"[" * 600, b"1" * 5000, b"\xff\xfe", b"\0", b"!!timestamp x", b"!!int x", b"!!float x", b"<<: 3", b".nan"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipe") / "recipe.yaml"


def check(path: Path, *overrides: str) -> None:
    with time_limit(), memory_limit():
        try:
            config = build(PretrainConfig, apply_overrides(read_recipe("pretrain", str(path)), overrides), "the recipe")
        except UsageError as error:
            assert len(str(error)) < 20000
            return
        # What is taken can be written down and read again.
        assert to_dict(build(PretrainConfig, yaml.safe_load(to_yaml(config)), "again")).keys() == PLAIN.keys()


@fuzz(80)
@given(name=st.sampled_from(NAMES), changes=mutations([]), odd=st.sampled_from(ODD), at=st.integers(0, 5000))
def test_damaged_text(path: Path, name: str, changes: list[Mutation], odd: bytes, at: int) -> None:
    text = recipe_text("pretrain", name).encode()
    for damaged in (mutate(text, changes), text[: at % len(text)] + odd + text[at % len(text) :], odd):
        path.write_bytes(damaged)
        check(path)


@fuzz(100)
@given(values=variations(PLAIN))
def test_other_values(path: Path, values: Any) -> None:
    path.write_text(yaml.safe_dump(values), encoding="utf-8", errors="surrogatepass")
    check(path)


@fuzz(100)
@given(
    key=st.one_of(
        st.sampled_from(["optimizer", "optimizer.lr", "encoder.options.x", "data.filter.ids", "", ".", "..a"]),
        st.text(),
    ),
    value=st.one_of(st.sampled_from([odd.decode("latin-1") for odd in ODD]), st.text()),
)
def test_overrides(path: Path, key: str, value: str) -> None:
    path.write_text(recipe_text("pretrain", NAMES[0]))
    check(path, f"{key}={value}")
