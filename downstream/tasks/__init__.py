"""The tasks by name: each is one module here with a function `load(root, **options) -> Task`."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

from byol_a.errors import UsageError
from downstream.tasks.base import Clip, Round, Task

TASKS = ("esc50", "folder", "fsdd", "nsynth")

__all__ = ["TASKS", "Clip", "Round", "Task", "load_task"]


def load_task(name: str, root: str | Path, **options: Any) -> Task:
    """Read the task `name` from the folder `root`, where the set was unpacked.

    Args:
        options: the task's own options (`label`, `csv`, ...); those that are None count as not given.

    Raises:
        UsageError: for an unknown task or option, a missing folder, or a layout that is not the set's.
    """
    if name not in TASKS:
        raise UsageError(f"there is no task {name!r}; there are {', '.join(TASKS)}")
    load = importlib.import_module(f"downstream.tasks.{name}").load
    given = {key: value for key, value in options.items() if value is not None}
    known = set(inspect.signature(load).parameters)
    for key in given:
        if key not in known:
            raise UsageError(f"the task {name} has no option --{key}")
    root = Path(root)
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder; give the folder in which {name} was unpacked")
    task: Task = load(root, **given)
    return task
