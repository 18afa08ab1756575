"""What is known of a set before any file is read: one YAML file per task in `recipes/evaluate`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from byol_a.config import build
from byol_a.data.formats import AUDIO_EXTENSIONS
from byol_a.recipes import list_recipes, read_recipe

Domain = Literal["environment", "speech", "music", "any"]
KIND = "evaluate"


@dataclass(frozen=True)
class TaskRecipe:
    """A task as data.

    Attributes:
        task: the module in `downstream.tasks` that reads the layout.
        title: the set's name as it is written, and the variant ("NSynth, pitch").
        layout: the files and folders that are expected below the root, in a line.
        source: where the set is published.
        options: of the module's `load`.
        markers: what must be below a root for the set to be recognised there by itself; none for sets that have to
            be named. A pattern must match something, after a ! nothing; of several joined by " | " one must match
            something, after "2 of " two.
        audio_below: whether there must be audio below the root as well, of any name and at any depth. The innermost
            such folder is the set's then.
        clips: of the whole set; a number, or one for each part.
        classes: how many.
        metrics: names in `downstream.metrics.METRICS`, the task's own first; empty to take what the files say.
        unit_seconds: the length the field cuts clips to.
        protocols: settings that a protocol takes for this task, by the protocol's name.
    """

    task: str
    title: str
    domain: Domain
    layout: str
    source: str
    options: dict[str, Any] = field(default_factory=dict)
    markers: list[str] = field(default_factory=list)
    audio_below: bool = False
    clips: int | dict[str, int] | None = None
    classes: int | None = None
    metrics: list[str] = field(default_factory=list)
    unit_seconds: float | None = None
    protocols: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def n_clips(self) -> int | None:
        """Clips of the whole set."""
        return sum(self.clips.values()) if isinstance(self.clips, dict) else self.clips

    def recognises(self, root: Path) -> bool:
        """Whether `root` looks like the set, unpacked."""
        return self._is_marked(root) and not (
            self.audio_below and any(self._is_marked(folder) for folder in root.iterdir() if folder.is_dir())
        )

    def _is_marked(self, root: Path) -> bool:
        marked = bool(self.markers) and all(_matches(marker, root) for marker in self.markers)
        return marked and (not self.audio_below or _holds_audio(root))

    @property
    def marks(self) -> str:
        """What `recognises` looks for, in words; empty for sets that have to be named."""
        marks = [f"no {marker.removeprefix('!')}" if marker.startswith("!") else marker for marker in self.markers]
        marks = [f"({mark.replace(' | ', ' or ')})" if " | " in mark else mark for mark in marks]
        return " and ".join(marks + ["audio below"] * self.audio_below)


def task_recipes() -> Mapping[str, TaskRecipe]:
    """The tasks that come with the package, by name."""
    return {name: read_task_recipe(name) for name in list_recipes(KIND)}


def read_task_recipe(name: str) -> TaskRecipe:
    """The recipe of a task by name, or from a YAML file by path.

    Raises:
        UsageError: if there is none, with the nearest name; for unknown keys or wrong values.
    """
    return build(TaskRecipe, read_recipe(KIND, name), f"recipe {name}")


def _matches(marker: str, root: Path) -> bool:
    least, _, patterns = marker.removeprefix("!").rpartition(" of ")
    matching = sum(any(root.glob(pattern)) for pattern in patterns.split(" | "))
    return matching == 0 if marker.startswith("!") else matching >= int(least or 1)


def _holds_audio(root: Path) -> bool:
    """Whether there is audio below a folder, or below a link to a folder in it."""
    endings = tuple(AUDIO_EXTENSIONS)
    return any(
        name.lower().endswith(endings) and not name.startswith(".")
        for top in (root, *(path for path in root.iterdir() if path.is_symlink()))
        for _, _, names in os.walk(top)
        for name in names
    )
