"""Which files a run reads: found once, by the main process, the same for all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from byol_a.data.files import find_audio
from byol_a.data.report import FileReport
from byol_a.errors import ByolaError
from byol_a.training.distributed import Processes
from byol_a.training.sources import SYNTH


def is_synth(data: Sequence[str | Path]) -> bool:
    """Whether the data are the single word "synth"."""
    return [str(entry) for entry in data] == [SYNTH]


def find_files(data: Sequence[str | Path], processes: Processes) -> tuple[list[Path], list[tuple[str, str]]]:
    """The audio files, and those that can be told to be unusable: found by the main process, the same for all."""
    found: tuple[list[Path], list[tuple[str, str]]] | ByolaError | None = None
    if processes.is_main:
        report = FileReport()
        try:
            paths = dict.fromkeys(path.absolute() for path in find_audio(data, report))
            found = list(paths), report.items()
        except ByolaError as error:
            found = error
    found = processes.broadcast(found)
    if isinstance(found, ByolaError):
        raise found
    assert found is not None
    return found


def data_fingerprint(files: Iterable[Path]) -> str:
    """32 hexadecimal digits of the files' names and sizes, in order: whether two runs saw the same list."""
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        try:
            size = path.stat().st_size
        except OSError:  # it went away, or cannot be looked at: its place in the list still counts
            size = -1
        digest.update(f"{os.fsencode(path)!r} {size}\n".encode())
    return digest.hexdigest()
