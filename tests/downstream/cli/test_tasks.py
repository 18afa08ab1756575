"""`byol-a tasks`: every recipe is listed with what a newcomer needs to know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from byol_a.errors import UsageError
from downstream.cli.tasks import tasks
from downstream.metrics import METRICS
from downstream.protocols import make_protocol
from downstream.tasks import task_recipes

RECIPES = task_recipes()


def said(*arguments: object) -> str:
    return CliRunner().invoke(tasks, [str(argument) for argument in arguments], catch_exceptions=False).output


def joined(text: str) -> str:
    """Without line breaks, which depend on the terminal."""
    return " ".join(text.split())


def test_every_set_of_the_field_is_there() -> None:
    environment = {"esc50", "esc10", "us8k", "fsd50k", "audioset20k", "audioset"}
    speech = {"spcv1", "spcv2", "spcv2_12", "vc1", "voxforge", "cremad", "fsdd", "fsdd_speaker"}
    music = {"gtzan", "nsynth", "nsynth_pitch", "surge"}
    for domain, names in (("environment", environment), ("speech", speech), ("music", music)):
        assert {name for name, recipe in RECIPES.items() if recipe.domain == domain} == names
    assert {"folder", "hear"} <= set(RECIPES)


def test_learning_rates_are_those_of_the_published_numbers() -> None:
    rates = {name: recipe.protocols["evar"]["lr"] for name, recipe in RECIPES.items() if "evar" in recipe.protocols}
    published = {"esc50": 1e-3, "nsynth": 1e-3, "gtzan": 1e-3, "us8k": 3e-5, "spcv2": 3e-5, "surge": 3e-5}
    published |= {"vc1": 4e-5, "voxforge": 1e-4}
    assert rates.items() >= published.items()
    assert "cremad" not in rates  # 3e-4, as where nothing is said


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_say_what_exists(name: str) -> None:
    recipe = RECIPES[name]
    assert recipe.title and recipe.layout and recipe.source
    assert set(recipe.metrics) <= set(METRICS)
    for protocol, settings in recipe.protocols.items():
        make_protocol(protocol, settings)


def test_the_list_has_all_of_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = said()
    headings = [text.index(f"{domain}\n") for domain in ("environment", "speech", "music", "any sound")]
    assert headings == sorted(headings)
    for name, recipe in RECIPES.items():
        assert f"  {name} " in text and recipe.title in text
        assert joined(recipe.layout) in joined(text) and recipe.source in text
    assert "us8k          UrbanSound8K: 8,732 clips, 10 classes, accuracy" in text
    assert headings[0] < text.index("  us8k") < headings[1] < text.index("  spcv2 ") < headings[2]
    assert "AudioSet, 20k: 42,531 clips, 527 classes, mAP" in text


@pytest.mark.parametrize("columns", ["20", "80", "400"])
def test_layouts_are_wrapped(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    below = [line for line in said().splitlines() if line.startswith(" " * 16)]
    assert below and all(len(line) <= 120 or " " not in line.strip() for line in below)


def test_details_of_a_task() -> None:
    text = joined(said("fsd50k"))
    for words in (
        "FSD50K (fsd50k)",
        "51,197 clips (train 36,796, valid 4,170, test 10,231)",
        "200 classes",
        "mAP; beside it d', lwlrap",
        "7.6 s",
        "https://zenodo.org",
        "recognised by FSD50K.ground_truth/dev.csv and FSD50K.ground_truth/eval.csv",
        "byol-a evaluate MODEL --task fsd50k --data FOLDER",
        "FSD50K.eval_audio/",
    ):
        assert words in text, words
    assert "Raises" not in text and "settings" not in text


def test_details_name_options_and_settings() -> None:
    assert "settings evar: lr 3e-05" in joined(said("us8k"))
    assert "fixed subset esc10" in joined(said("esc10"))
    assert "--data FOLDER [--csv TABLE]" in said("folder")
    assert "--data FOLDER [--split PATH]" in said("gtzan")
    assert "no backward" in joined(said("spcv1"))
    assert "--label" not in said("nsynth_pitch") and "fixed label pitch" in joined(said("nsynth_pitch"))


@pytest.mark.parametrize("name", RECIPES)
def test_every_task_can_be_described(name: str) -> None:
    assert f"--task {name} --data FOLDER" in said(name)


def test_for_programs() -> None:
    entries = json.loads(said("--json"))
    assert [entry["name"] for entry in entries] == list(RECIPES)
    one = json.loads(said("spcv2", "--json"))
    assert one == next(entry for entry in entries if entry["name"] == "spcv2")
    assert one["clips"] == {"train": 84843, "valid": 9981, "test": 11005} and one["metrics"] == ["accuracy"]
    assert one["options"] == {"version": 2} and one["may_be_given"] == []
    assert one["summary"].startswith("Speech Commands v2: 105,829")


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "# Calls of my birds\ntask: folder\ntitle: My birds\ndomain: environment\nlayout: <bird>/*.wav\nsource: mine\n"
    )
    text = said(path)
    assert f"My birds ({path})" in joined(text) and "Calls of my birds" in text


def test_an_unknown_task_gets_a_hint() -> None:
    with pytest.raises(UsageError, match=r"'us8'.*did you mean 'us8k'"):
        said("us8")
