"""The account of files that could not be used: counted, named with their reason, never fatal."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from byol_a.errors import ByolaError
from byol_a.files import atomic_file


class FileReport:
    """Collects (path, reason) pairs; a path is kept once, with the first reason given.

    A reason begins with its kind, as in `"truncated: 10 of 20 samples"`; the summary counts kinds.
    """

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    def add(self, path: str | os.PathLike[str], reason: str) -> None:
        """Note that `path` could not be used."""
        self._reasons.setdefault(os.fspath(path), reason)

    def extend(self, problems: Iterable[tuple[str, str]]) -> None:
        """Note several (path, reason) pairs, for example those that came with a batch of crops."""
        for path, reason in problems:
            self.add(path, reason)

    def __len__(self) -> int:
        return len(self._reasons)

    def __contains__(self, path: object) -> bool:
        return isinstance(path, (str, os.PathLike)) and os.fspath(path) in self._reasons

    def items(self) -> list[tuple[str, str]]:
        """All (path, reason) pairs, sorted by path."""
        return sorted(self._reasons.items())

    def summary(self, total: int | None = None) -> str:
        """One sentence: "3 of 120 files could not be used: 2 empty, 1 not audio".

        Args:
            total: how many files there were, bad ones included; left out of the sentence if None.
        """
        if not self._reasons:
            return "every file could be used"
        kinds = Counter(reason.partition(":")[0] for reason in self._reasons.values())
        counts = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
        of_total = "" if total is None else f" of {total}"
        files = "file" if (total or len(self)) == 1 else "files"
        return f"{len(self)}{of_total} {files} could not be used: " + ", ".join(f"{n} {kind}" for kind, n in counts)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> FileReport:
        """The report that `write` wrote to `path`; an empty one where there is none.

        Raises:
            ByolaError: if the file is no such report.
        """
        report = cls()
        if Path(path).is_file():
            try:
                with Path(path).open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
                    for row in csv.DictReader(stream):
                        report.add(str(row["path"]), str(row["reason"]))
            except (csv.Error, KeyError) as error:
                raise ByolaError(f"{path} is not a list of unusable files; remove it and run this again") from error
        return report

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a CSV table with the columns `path` and `reason`, atomically, sorted by path."""
        with (
            atomic_file(path) as temporary,
            # A file name may hold bytes that are not UTF-8; they are written back as they were.
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
        ):
            writer = csv.writer(stream)
            writer.writerow(["path", "reason"])
            writer.writerows(self.items())
