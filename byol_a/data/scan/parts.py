"""What a scan has found out so far, on disk beside the index to come: a kill costs what came after the last part."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from byol_a.arrow import arrow_file
from byol_a.data.index import SCHEMA, AudioIndex
from byol_a.data.scan.plan import all_columns
from byol_a.errors import ByolaError, UsageError
from byol_a.lock import WriterLock

_RESCAN = "rescan"


def require_place(out: Path) -> None:
    """Refuse a place where no index can be, before anything is done for it.

    Raises:
        UsageError: for a folder, a pipe, what does not end in .parquet, or what lies below a file.
    """
    if out.is_dir():
        raise UsageError(f"{out} is a folder; give --out the name of an index, as {out / 'index.parquet'}")
    if out.suffix != ".parquet":
        raise UsageError(f"an index is a Parquet file, and {out} is no name of one; let --out end in .parquet")
    if out.exists() and not out.is_file():
        raise UsageError(f"{out} is there and is not a regular file, so it is kept; choose another --out")
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not above.is_dir():
        raise UsageError(f"nothing can be written to {out}, because {above} is not a folder; choose another --out")


class ScanParts:
    """The folder with the parts of an index, each a small index of its own. No other process uses it meanwhile.

    Args:
        out: the index to come.

    Raises:
        UsageError: on entering, if another process scans into the same index.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out.with_name(f".{out.name}.parts")
        refusal = f"another process is scanning into {out}; wait until it has ended, or choose another --out"
        self._out = out
        self._made: list[Path] = []  # folders that are there because of this, the deepest first
        self._next = 0
        self._lock = WriterLock(self.folder / ".lock", refusal)

    def __enter__(self) -> ScanParts:
        self._made = [folder for folder in self.folder.parents if not folder.exists()]
        self._lock.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._paths():
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.__exit__(kind, error, trace)
        with suppress(OSError):  # of the first that is not empty
            for folder in self._made:
                folder.rmdir()

    def begin(self, rescan: bool) -> AudioIndex:
        """All rows that an interrupted scan left, the newest first.

        Args:
            rescan: keep only what was left by a scan that, too, was told to read everything again.
        """
        marker = self.folder / _RESCAN
        if rescan and not marker.exists():
            self.clear()
            marker.touch()
        for path in self.folder.glob(".*.partial"):
            path.unlink()
        # A scan that was killed over the index itself, or over its picture.
        killed = re.compile(rf"\.{re.escape(self._out.name)}(\.png)?\.\d+\.partial")
        for path in self._out.parent.iterdir():
            if killed.fullmatch(path.name):
                path.unlink(missing_ok=True)
        tables = [SCHEMA.empty_table()]
        for path in reversed(self._paths()):
            try:
                tables.append(all_columns(AudioIndex.read(path)))
            except ByolaError:  # damaged by more than a kill: its files are read again
                path.unlink()
        self._next = 1 + max((int(path.stem) for path in self._paths()), default=-1)
        return AudioIndex(pa.concat_tables(tables))

    def add(self, part: AudioIndex) -> None:
        """Write a part; it is on disk when this returns."""
        part.write(self.folder / f"{self._next:06d}.parquet")
        self._next += 1

    def clear(self) -> None:
        """Drop the parts; without any the folder goes on leaving, while it is still locked."""
        for path in self._paths():
            path.unlink()

    def n_files(self) -> int:
        """How many files the parts on disk describe."""
        count = 0
        for path in self._paths():
            with arrow_file(path) as file:
                count += pq.read_metadata(file).num_rows
        return count

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.parquet"), key=lambda path: int(path.stem))
