"""Building a set's layout in a temporary folder: empty files under the true names, and tables."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from byol_a.errors import UsageError
from downstream.tasks import Task, load_task


def touch(root: Path, *names: str) -> Path:
    """Make empty files below `root`, with their folders; returns the last one, or `root` itself."""
    path = root
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return path


def write_lines(path: Path, lines: Iterable[str]) -> Path:
    """Write a text file of these lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def write_rows(path: Path, header: Sequence[str] | None, rows: Iterable[Sequence[object]]) -> Path:
    """Write a CSV table; `header` None leaves it without one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows] if header else rows)
    return path


def parts_of(task: Task) -> Counter[str]:
    """How many clips each part or fold has."""
    return Counter(clip.part for clip in task.clips)


def refusal(name: str, root: Path, **options: Any) -> str:
    """What `load_task` says when it refuses: checked to be one line."""
    with pytest.raises(UsageError) as caught:
        load_task(name, root, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)
