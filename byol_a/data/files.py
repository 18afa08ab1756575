"""Finding audio files: folders walked recursively, in an order that is the same everywhere."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from byol_a.data.formats import AUDIO_EXTENSIONS, UNSUPPORTED_EXTENSIONS, unsupported_reason
from byol_a.data.report import FileReport
from byol_a.errors import UsageError

SYNTH = "synth"
"""What stands for synthesised sound where audio to learn from is asked for."""


def find_audio(inputs: Iterable[str | os.PathLike[str]], report: FileReport | None = None) -> list[Path]:
    """Every audio file named by `inputs` or found below the folders among them.

    A file named explicitly is kept whatever its extension. Below a folder, files are taken by
    extension (`AUDIO_EXTENSIONS`, case ignored), hidden files and folders are skipped, and symbolic
    links are followed. Each folder is walked once, however many links or inputs lead to it: under its real
    place below the inputs if it has one, and otherwise under the first link by name. A link to a file counts
    as a file of its own.

    Args:
        inputs: files and folders.
        report: told of sub-folders that cannot be listed, broken links, and audio of an unsupported kind.

    Returns:
        Paths as given (relative stays relative), each file once, sorted as strings. Of several spellings of
        the same input the first is kept, and of a file also found in a folder the one given.

    Raises:
        UsageError: if an input does not exist or cannot be listed, or if there is no audio file at all.
    """
    return [Path(name) for name in find_names(inputs, report)]


def find_names(
    inputs: Iterable[str | os.PathLike[str]], report: FileReport | None = None, endings: tuple[str, ...] = ()
) -> list[str]:
    """`find_audio` as strings, for millions of files, with those of further `endings` (lower case) among them."""
    report = FileReport() if report is None else report
    paths = [Path(item) for item in inputs]
    already_reported = len(report)
    walk = _Walk(report, endings)
    refuse_missing(paths)
    for path in paths:
        if not path.is_dir():
            walk.add_file(path)
    for path in paths:
        if path.is_dir():
            walk.add_folder(path)
    walk.follow_links()
    if not walk.found:
        places = ", ".join(map(str, paths)) or "an empty list of inputs"
        aside = f" ({report.summary()})" if len(report) > already_reported else ""
        kinds = " ".join(sorted({*AUDIO_EXTENSIONS, *endings}))
        raise UsageError(f"no audio file was found in {places}{aside}; files ending in {kinds} are looked for")
    return sorted(walk.found)


def refuse_missing(inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Raise `UsageError` for the first input that does not exist."""
    for path in inputs:
        if not Path(path).exists():
            raise UsageError(f"{path} does not exist; give an audio file or a folder that holds some")


def is_synth(data: Sequence[str | os.PathLike[str]]) -> bool:
    """Whether what to learn from is the single word "synth"."""
    return [str(entry) for entry in data] == [SYNTH]


def refuse_unlearnable(data: Sequence[str | os.PathLike[str]]) -> None:
    """Raise `UsageError` unless all that is to be learned from exists, or is the single word "synth"."""
    if is_synth(data):
        return
    if SYNTH in map(str, data) and not Path(SYNTH).exists():
        raise UsageError("synth, which is synthesised sound, goes alone; leave out the other --data, or synth")
    refuse_missing(data)


class _Walk:
    """One walk over all inputs, which enters every folder once, under whatever names it can be reached.

    Links to folders wait until all real folders have been walked, so that a file is found under its own name
    rather than a link's, and then are followed in the order of their names: what is found does not depend on
    the order in which the file system lists a folder.
    """

    def __init__(self, report: FileReport, endings: tuple[str, ...]) -> None:
        self.found: list[str] = []
        self._report, self._endings = report, endings
        self._named: set[tuple[tuple[int, int], str]] = set()  # folder and name of the files given as inputs
        self._entered: set[tuple[int, int]] = set()
        self._links: list[str] = []  # a heap

    def add_file(self, path: Path) -> None:
        """Take a file, unless it was taken under another spelling of its folder."""
        key = (_identity(path.parent), path.name)
        if key not in self._named:
            self._named.add(key)
            self.found.append(str(path))

    def add_folder(self, top: Path) -> None:
        """Take what the folder and the real folders below it hold; links to folders are kept for later."""
        try:
            pending = self._enter(str(top))
        except OSError as error:
            raise UsageError(f"{top} cannot be listed ({error.strerror}); check its permissions") from error
        self._enter_all(pending)

    def follow_links(self) -> None:
        """Take what is found behind the links to folders that were met."""
        while self._links:
            self._enter_all([heapq.heappop(self._links)])

    def _enter_all(self, pending: list[str]) -> None:
        while pending:
            folder = pending.pop()
            try:
                pending += self._enter(folder)
            except OSError as error:
                self._report.add(folder, f"unreadable: {error.strerror}")

    def _enter(self, folder: str) -> list[str]:
        """Take the files of a folder, unless it was entered before; returns the real folders in it."""
        identity = _identity(folder)
        if identity in self._entered:
            return []
        self._entered.add(identity)
        with os.scandir(folder) as entries:
            listing = [entry for entry in entries if not entry.name.startswith(".")]
        folders = []
        for entry in listing:
            path = entry.path.removeprefix("./")
            try:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                elif entry.is_dir():
                    heapq.heappush(self._links, path)
                else:
                    self._consider(entry, path, identity)
            except OSError as error:  # a link to itself, or into a folder that may not be entered
                self._report.add(path, f"unreadable: {(error.strerror or str(error)).lower()}")
        return folders

    def _consider(self, entry: os.DirEntry[str], path: str, folder: tuple[int, int]) -> None:
        """Take what is no folder, if it is audio and no input names it."""
        extension = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
        if extension in UNSUPPORTED_EXTENSIONS:
            self._report.add(path, unsupported_reason(extension))
        elif extension in AUDIO_EXTENSIONS or entry.name.lower().endswith(self._endings):
            if (folder, entry.name) in self._named:
                return
            if entry.is_file():
                self.found.append(path)
            else:
                self._report.add(path, "unreadable: not a file, or a link to nothing")


def _identity(folder: str | Path) -> tuple[int, int]:
    status = os.stat(folder)  # noqa: PTH116 (strings: a walk over millions of Paths is slow)
    return status.st_dev, status.st_ino
