"""Audio below a set's folder, by its place there."""

from __future__ import annotations

import os
from pathlib import Path

from byol_a.data.files import find_names
from byol_a.data.report import FileReport


def audio_below(root: Path, report: FileReport) -> list[str]:
    """The audio files below `root`, as names relative to it, sorted.

    Args:
        report: told of audio that cannot be used.

    Raises:
        UsageError: if there is none, or `root` cannot be listed.
    """
    prefix = "" if root == Path() else os.path.join(root, "")  # noqa: PTH118 (with its slash at the end)
    return [name.removeprefix(prefix) for name in find_names([root], report)]


def left_out(root: Path, report: FileReport) -> str:
    """What is in the folder and not among the clips, in a sentence with one example; empty if there is nothing."""
    if not len(report):
        return ""
    path, reason = report.items()[0]
    return f"in {root}, {report.summary()}; one of them: {path}: {reason}"
