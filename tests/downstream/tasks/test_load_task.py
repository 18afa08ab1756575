"""Loading by name: what the recipe adds to what the files say, and what is refused before any file is read."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from byol_a.errors import ByolaError, UsageError
from byol_a.recipes import list_recipes
from downstream.metrics import METRICS
from downstream.protocols import make_protocol
from downstream.tasks import Clip, Task, load_task, resolve_recipe, task_recipes
from downstream.tasks.base import PARTS
from tests.downstream.tasks.layouts import refusal, touch, write_lines


def fsdd(root: Path) -> Path:
    touch(
        root, *(f"recordings/{digit}_{name}_{i}.wav" for digit in range(2) for name in ("ann", "bob") for i in (0, 9))
    )
    return root


def test_a_recipe_completes_what_the_files_say(tmp_path: Path) -> None:
    task = load_task("fsdd_speaker", fsdd(tmp_path))
    assert (task.name, task.title, task.domain, task.label) == ("fsdd_speaker", "FSDD, speaker", "speech", "speaker")
    assert task.expected_clips == 3000 and task.expected_parts == {"train": 2700, "test": 300}


def test_another_label_of_a_set_is_another_recipes(tmp_path: Path) -> None:
    task = load_task("fsdd", fsdd(tmp_path), label="speaker")
    assert (task.name, task.title, task.label) == ("fsdd_speaker", "FSDD, speaker", "speaker")
    assert task == load_task("fsdd_speaker", tmp_path) and task.expected_parts == {"train": 2700, "test": 300}


@pytest.mark.parametrize(
    ("name", "options", "resolved"),
    [
        ("nsynth", {"label": "pitch"}, "nsynth_pitch"),
        ("nsynth_pitch", {"label": "instrument_family"}, "nsynth"),
        ("nsynth", {"label": None}, "nsynth"),
        ("fsdd", {"label": "speaker", "split": "x"}, "fsdd_speaker"),
        ("fsdd", {"label": "mood"}, "fsdd"),
        ("esc50", {"subset": "esc10"}, "esc10"),
        ("esc10", {"subset": "esc50"}, "esc50"),
        ("audioset", {"train": "balanced"}, "audioset20k"),
        ("spcv2", {"version": 1}, "spcv1"),
        ("cremad", {"split": "mine.csv"}, "cremad"),
    ],
)
def test_options_may_make_another_recipes_task(name: str, options: dict[str, Any], resolved: str) -> None:
    assert resolve_recipe(name, options) == (resolved, task_recipes()[resolved])


def test_every_recipe_is_its_own() -> None:
    assert all(resolve_recipe(name, {}) == (name, recipe) for name, recipe in task_recipes().items())


def test_one_set_has_one_learning_rate() -> None:
    recipes = task_recipes()
    for name, variant in (("nsynth", "nsynth_pitch"), ("esc50", "esc10")):
        assert recipes[name].protocols == recipes[variant].protocols == {"evar": {"lr": 1e-3}}


def test_a_users_recipe_is_read_by_its_path(tmp_path: Path) -> None:
    mine = write_lines(
        tmp_path / "voices.yaml",
        ["task: fsdd", "title: Voices", "domain: speech", "layout: x", "source: y", "options: {label: speaker}"],
    )
    task = load_task(str(mine), fsdd(tmp_path))
    assert (task.name, task.title, task.label, task.classes) == ("voices", "Voices", "speaker", ("ann", "bob"))
    other = load_task(str(mine), tmp_path, label="digit")
    assert (other.name, other.title, other.classes) == ("voices_digit", "Voices", ("0", "1"))
    assert resolve_recipe(str(mine), {"label": "digit"})[0] == str(mine)


def test_a_metric_of_which_lower_is_better_is_no_tasks_own(tmp_path: Path) -> None:
    lines = ["task: fsdd", "title: Voices", "domain: speech", "layout: x", "source: y", "metrics: [brier, accuracy]"]
    mine = write_lines(tmp_path / "voices.yaml", lines)
    with pytest.raises(UsageError, match="brier cannot be a task's own metric"):
        load_task(str(mine), fsdd(tmp_path))


def test_classes_that_are_missing_are_a_warning(tmp_path: Path) -> None:
    task = load_task("fsdd", fsdd(tmp_path))
    assert task.expected_classes == 10
    assert task.warnings()[1] == "there are 2 classes and all fsdd has 10: scores do not compare"
    assert len(replace(task, expected_classes=2).warnings()) == 1
    assert len(replace(task, expected_clips=len(task.clips), expected_classes=None).warnings()) == 0


def test_what_is_said_of_a_task_holds_for_every_protocol(tmp_path: Path) -> None:
    task = load_task("fsdd", fsdd(tmp_path))
    assert task.describe() == "fsdd, digit: 8 clips, 2 classes, leave one of 2 speakers out"
    assert replace(task, unit_seconds=2.5).describe().endswith("out, the set's unit is 2.5 s")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("gtzan2", {}, "did you mean 'gtzan'"),
        ("fsdd", {"csv": "t.csv"}, "fsdd has no option 'csv'"),
        ("vc1", {"splt": "x"}, "did you mean 'split'"),
    ],
)
def test_unknown_names_are_said_with_the_nearest(
    tmp_path: Path, name: str, options: dict[str, str], words: str
) -> None:
    assert words in refusal(name, tmp_path, **options)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    said = refusal("gtzan", tmp_path / "nowhere")
    assert "nowhere is not a folder" in said and "GTZAN" in said


def test_a_round_without_test_clips_is_refused() -> None:
    task = Task("x", "y", (Clip(Path("a"), ("l",), "train"),), ("l",), "given")
    with pytest.raises(ByolaError, match="1 clips to train on and 0 to test on"):
        task.rounds()


# Clips (in train, valid and test, or in all), classes and the unit in seconds, as the sets' authors give them.
PUBLISHED: dict[str, tuple[Any, int, float | None]] = {
    "esc50": (2000, 50, 5.0),
    "esc10": (400, 10, 5.0),
    "us8k": (8732, 10, 4.0),
    "fsd50k": ((36_796, 4_170, 10_231), 200, 7.6),
    "audioset": (None, 527, 10.0),
    "audioset20k": (None, 527, 10.0),
    "spcv1": (64_721, 30, 1.0),
    "spcv2": ((84_843, 9_981, 11_005), 35, 1.0),
    "spcv2_12": (None, 12, 1.0),
    "vc1": (153_516, 1251, 8.2),
    "voxforge": (176_428, 6, 5.8),
    "cremad": (7442, 6, 2.5),
    "gtzan": (1000, 10, 30.0),
    "nsynth": ((289_205, 12_678, 4_096), 11, 4.0),
    "nsynth_pitch": (None, 88, 4.0),
    "surge": (None, 88, 4.0),
    "fsdd": (3000, 10, None),
    "fsdd_speaker": (3000, 6, None),
}
OF_THE_USER = {"folder", "hear"}  # say themselves how much there is


@pytest.mark.parametrize("name", list(list_recipes("evaluate")))
def test_every_recipe_is_whole(name: str) -> None:
    recipe = task_recipes()[name]
    assert recipe.layout and recipe.source and recipe.title and list_recipes("evaluate")[name]
    assert set(recipe.metrics) <= set(METRICS) and bool(recipe.metrics) == (name not in OF_THE_USER)
    parameters = inspect.signature(importlib.import_module(f"downstream.tasks.{recipe.task}").load).parameters
    assert set(recipe.options) <= set(parameters) - {"root"}
    for protocol, settings in recipe.protocols.items():
        assert make_protocol(protocol, settings) != make_protocol(protocol)
    of_parts = recipe.clips if isinstance(recipe.clips, dict) else {}
    assert tuple(of_parts) in ((), ("train", "test"), PARTS)
    clips, classes, unit = PUBLISHED.get(name, (None, None, None))
    assert (recipe.classes, recipe.unit_seconds) == (classes, unit)
    assert clips in (None, tuple(of_parts.values()), recipe.n_clips)
    assert (name in PUBLISHED) != (name in OF_THE_USER)
