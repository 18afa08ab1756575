"""The tasks: a module here reads a set's layout with `load(root, **options)`; a recipe says which set it is."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from byol_a.config import nearest
from byol_a.errors import UsageError
from downstream.metrics import metrics_beside
from downstream.tasks.base import Clip, Round, Task
from downstream.tasks.recipe import TaskRecipe, read_task_recipe, task_recipes

__all__ = [
    "Clip",
    "Round",
    "Task",
    "TaskRecipe",
    "check_task",
    "load_task",
    "read_task_recipe",
    "resolve_recipe",
    "task_recipes",
]


def load_task(name: str, root: str | Path, **options: Any) -> Task:
    """Read the task `name` from the folder `root`, where the set was unpacked.

    Args:
        name: of a recipe in `recipes/evaluate`, or the path of one.
        options: the task's own options (`label`, `csv`, ...), before the recipe's; those that are None count
            as not given. Where they make it the task of another recipe, that one is taken, see `resolve_recipe`.

    Raises:
        UsageError: for an unknown task or option, a missing folder, or a layout that is not the set's.
    """
    name, recipe, given = check_task(name, root, **options)
    load, root = importlib.import_module(f"downstream.tasks.{recipe.task}").load, Path(root)
    task: Task = load(root, **given)
    # Another label of the same set is another task, and has no recipe: neither metrics nor name are this one's.
    as_published = all(recipe.options.get(key) == value for key, value in given.items() if key == "label")
    says_its_name = task.name != recipe.task  # a folder of HEAR's
    task = replace(
        task,
        name=task.name if says_its_name else Path(name).stem if as_published else f"{Path(name).stem}_{task.label}",
        title=task.title or recipe.title,
        domain=recipe.domain,
        source=recipe.source,
        root=root,
        protocols=recipe.protocols,
        unit_seconds=recipe.unit_seconds or task.unit_seconds,
        # A loader says what depends on more than the set: a label, lists that leave clips out.
        expected_clips=task.expected_clips or (recipe.n_clips if as_published else None),
        expected_parts=task.expected_parts or (recipe.clips if as_published and isinstance(recipe.clips, dict) else {}),
        expected_classes=recipe.classes if as_published else None,
        metrics=tuple(recipe.metrics) if recipe.metrics and as_published else task.metrics,
    )
    metrics_beside(task.metrics, task.multi_label)  # a metric that cannot be is refused before the long part
    return task


def check_task(name: str, root: str | Path, **options: Any) -> tuple[str, TaskRecipe, dict[str, Any]]:
    """What `load_task` can tell before it reads any of the set; takes and raises the same.

    Returns:
        The recipe and its name, as `resolve_recipe`, and the options of the set's reader.
    """
    name, recipe = resolve_recipe(name, options)
    load = importlib.import_module(f"downstream.tasks.{recipe.task}").load
    given = recipe.options | {key: value for key, value in options.items() if value is not None}
    known = [key for key in inspect.signature(load).parameters if key != "root"]
    for key in given:
        if key not in known:
            raise UsageError(f"the task {name} has no option {key!r}{nearest(key, known)}")
    if not Path(root).is_dir():
        raise UsageError(f"{root} is not a folder; give the folder in which {recipe.title} was unpacked")
    return name, recipe, given


def resolve_recipe(name: str, options: Mapping[str, Any]) -> tuple[str, TaskRecipe]:
    """The recipe `name`, or the packaged one that `options` make of it: `nsynth` by pitch is `nsynth_pitch`.

    Args:
        options: as for `load_task`; those that no recipe of the set fixes do not matter (`csv`, `split`).

    Returns:
        The recipe and its name; what was asked for where there is no recipe for these options, and for a user's own.

    Raises:
        UsageError: for an unknown recipe.
    """
    recipe = read_task_recipe(name)
    relatives = {key: other for key, other in task_recipes().items() if other.task == recipe.task}
    if name not in relatives:
        return name, recipe
    load = importlib.import_module(f"downstream.tasks.{recipe.task}").load
    unless_said = {key: parameter.default for key, parameter in inspect.signature(load).parameters.items()}
    fixed = {key for other in relatives.values() for key in other.options}
    given = {key: value for key, value in options.items() if key in fixed and value is not None}
    asked = unless_said | recipe.options | given
    for key, other in relatives.items():
        says = unless_said | other.options
        if all(says[option] == asked[option] for option in fixed):
            return key, other
    return name, recipe
