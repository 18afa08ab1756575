"""Finding audio files: folders walked recursively, in an order that is the same everywhere."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from byol_a.data.formats import AUDIO_EXTENSIONS, UNSUPPORTED_EXTENSIONS, unsupported_reason
from byol_a.data.report import FileReport
from byol_a.errors import UsageError


def find_audio(inputs: Iterable[str | os.PathLike[str]], report: FileReport | None = None) -> list[Path]:
    """Every audio file named by `inputs` or found below the folders among them.

    A file named explicitly is kept whatever its extension. Below a folder, files are taken by
    extension (`AUDIO_EXTENSIONS`, case ignored), hidden files and folders are skipped, and symbolic
    links are followed except back into a folder that is being walked.

    Args:
        inputs: files and folders.
        report: told of sub-folders that cannot be listed, broken links, and audio of an unsupported kind.

    Returns:
        Paths as given (relative stays relative), without repeats, sorted as strings.

    Raises:
        UsageError: if an input does not exist or cannot be listed, or if there is no audio file at all.
    """
    report = FileReport() if report is None else report
    paths = [Path(item) for item in inputs]
    already_reported = len(report)
    found: set[str] = set()
    for path in paths:
        if path.is_dir():
            found.update(_walk(path, report))
        elif path.exists():
            found.add(str(path))
        else:
            raise UsageError(f"{path} does not exist; give an audio file or a folder that holds some")
    if not found:
        places = ", ".join(map(str, paths)) or "an empty list of inputs"
        aside = f" ({report.summary()})" if len(report) > already_reported else ""
        kinds = " ".join(sorted(AUDIO_EXTENSIONS))
        raise UsageError(f"no audio file was found in {places}{aside}; files ending in {kinds} are looked for")
    return [Path(path) for path in sorted(found)]


def _walk(top: Path, report: FileReport) -> Iterator[str]:
    # Each folder to visit comes with the identities of the folders above it: a link that leads back
    # to one of them is a loop, whereas a folder linked to from two places is simply seen twice.
    pending: list[tuple[str, frozenset[tuple[int, int]]]] = [(str(top), frozenset())]
    while pending:
        folder, above = pending.pop()
        try:
            status = os.stat(folder)  # noqa: PTH116 (strings: a walk over millions of Paths is slow)
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                continue
            with os.scandir(folder) as entries:
                listing = list(entries)
        except OSError as error:
            if not above:
                raise UsageError(f"{folder} cannot be listed ({error.strerror}); check its permissions") from error
            report.add(folder, f"unreadable: {error.strerror}")
            continue
        for entry in listing:
            if entry.name.startswith("."):
                continue
            extension = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
            if entry.is_dir():
                pending.append((entry.path, above | {identity}))
            elif extension in UNSUPPORTED_EXTENSIONS:
                report.add(entry.path, unsupported_reason(extension))
            elif extension in AUDIO_EXTENSIONS:
                if entry.is_file():
                    yield entry.path
                else:
                    report.add(entry.path, "unreadable: not a file, or a link to nothing")
