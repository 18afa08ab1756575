"""Which tasks a benchmark is made of, and where below a folder their sets were unpacked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from byol_a.config import nearest
from byol_a.errors import UsageError
from downstream.tasks import TaskRecipe, task_recipes

EVAR = ("esc50", "us8k", "spcv2", "vc1", "voxforge", "cremad", "gtzan", "nsynth", "surge")
"""The nine tasks of BYOL-A v2 (arXiv 2204.07402)."""

DEPTH, MOST_FOLDERS = 3, 5000  # of the search below a root; sets hold many folders of their own


@dataclass(frozen=True)
class FoundTask:
    """A task and where its set is."""

    name: str
    root: Path


@dataclass(frozen=True)
class Search:
    """What a search found: tasks and their places, why others are missing, and what else is to be said."""

    found: list[FoundTask] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def suite_tasks(suite: str) -> tuple[str, ...]:
    """The tasks of a suite: all, a domain, evar, or names separated by commas.

    Raises:
        UsageError: for a name that is neither a suite nor a task.
    """
    recipes = task_recipes()
    recognisable = [name for name, recipe in recipes.items() if recipe.markers]
    suites: dict[str, tuple[str, ...]] = {
        "all": tuple(recognisable),
        "evar": EVAR,
        **{
            domain: tuple(name for name in recognisable if recipes[name].domain == domain)
            for domain in ("environment", "speech", "music")
        },
        "hear": ("hear",),
    }
    names: list[str] = []
    for part in filter(None, map(str.strip, suite.split(","))):
        if part not in suites and part not in recipes:
            raise UsageError(f"there is no suite or task {part!r}{nearest(part, [*suites, *recipes])}")
        names += suites.get(part, (part,))
    if not names:
        raise UsageError("--suite names no task; give all, a domain, evar, hear, or names from `byol-a tasks`")
    return tuple(dict.fromkeys(names))


def find_tasks(names: Sequence[str], roots: Sequence[Path], given: Mapping[str, Sequence[Path]]) -> Search:
    """Where the sets of the tasks `names` are, and of those that are nowhere, why.

    A set is looked for in the roots and three levels below, not inside another set.

    Args:
        given: where the user says that a task's set is; not looked for. HEAR's tasks may be in several places.

    Raises:
        UsageError: for a folder that is none, or a place of a task that is not among `names`.
    """
    for root in [*roots, *(place for places in given.values() for place in places)]:
        if not root.is_dir():
            raise UsageError(f"{root} is not a folder; give one below which sets were unpacked")
    if strangers := [name for name in given if name not in names]:
        raise UsageError(f"the suite has no task {strangers[0]}, whose place is given{nearest(strangers[0], names)}")
    recipes = {name: recipe for name, recipe in task_recipes().items() if name in names}
    places, is_cut_short = _recognised({name: recipes[name] for name in recipes if name not in given}, roots)
    search = Search()
    if is_cut_short:
        search.notes.append(f"only the first {MOST_FOLDERS:,} folders were looked into; --at TASK=FOLDER names others")
    for name in names:
        several = recipes[name].task == "hear"
        at = list(given[name]) if name in given else places[name]
        search.found.extend(FoundTask(name, place) for place in (at if several else at[:1]))
        if not at and not recipes[name].markers:
            search.missing[name] = f"it cannot be recognised by itself; --at {name}=FOLDER says where it is"
        elif not at:
            search.missing[name] = f"no folder in {', '.join(map(str, roots))} has {recipes[name].marks}"
        elif len(at) > 1 and not several:
            search.notes.append(f"{name}: {at[1]} looks like it too; {at[0]} is taken (--at {name}=FOLDER decides)")
    return search


def _recognised(recipes: Mapping[str, TaskRecipe], roots: Sequence[Path]) -> tuple[dict[str, list[Path]], bool]:
    """The folders in which each task's set is recognised, nearest first, and whether the search was cut short."""
    found: dict[str, list[Path]] = {name: [] for name in recipes}
    level, seen = list(roots), set[tuple[int, int]]()
    for _ in range(DEPTH + 1):
        following: list[Path] = []
        for folder in level:
            state = folder.stat()
            if (state.st_dev, state.st_ino) in seen:  # a link, or a root inside another
                continue
            if len(seen) >= MOST_FOLDERS:
                return found, True
            seen.add((state.st_dev, state.st_ino))
            here = [name for name, recipe in recipes.items() if recipe.recognises(folder)]
            for name in here:
                found[name].append(folder)
            if all(recipes[name].audio_below for name in here):  # of those the tables say little about where audio ends
                following += _folders_in(folder)
        level = following
    return found, False


def _folders_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []  # a folder that may not be read holds nothing for us
