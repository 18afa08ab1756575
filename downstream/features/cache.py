"""Embeddings kept on disk by what they were made from: the model's content, the request and the files' content.

    FOLDER/digests.sqlite                of files, by path and state, so that files are not read for it again
    FOLDER/rows/<of what>/<which>.rows   segments: embeddings of one model under one request
    FOLDER/rows/<of what>/about.json     which model's, and what version of byol-a made them; see `usage`

Rows are kept as they are made, some 1,000 in a segment, so that an extraction that was stopped goes on; once all
clips of a task are there they are joined into one segment, which is mapped into memory. Rows are found clip by clip:
another label, another protocol or a part of the set finds them as well. Any number of processes may use one folder.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from byol_a.words import printable
from downstream.features.digests import FileDigests, file_digests
from downstream.features.segments import KEY, NO_KEY, Segment, read_segment, segment_name, write_segment
from downstream.features.usage import describe, mark_used, remove_unused

BLOCK_ROWS = 1000
_ABANDONED_SECONDS = 24 * 3600


def default_cache_folder() -> Path:
    """`byol-a/embeddings` in the user's cache folder (`$XDG_CACHE_HOME`, else `~/.cache`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "byol-a" / "embeddings"


class EmbeddingCache:
    """Where embeddings are kept.

    A folder that cannot be written to, or gets full, is said once on standard error, and the work goes on without it.

    Args:
        folder: where; None keeps nothing from one run to the next.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._is_writable = folder is not None

    def digests(self, paths: Sequence[Path], progress: bool | None = None) -> FileDigests:
        """Digests of files' contents; see `file_digests`."""
        memory = None if self.folder is None else self.folder / "digests.sqlite"
        return file_digests(paths, memory, progress)

    def rows(self, of_what: str, model: str = "") -> RowStore:
        """The rows kept under a digest of all that they have in common.

        Args:
            model: its name, for who looks into the folder.
        """
        if self.folder is None:
            return RowStore(self, None)
        remove_unused(self.folder / "rows")
        return RowStore(self, self.folder / "rows" / of_what, model)

    @property
    def is_writable(self) -> bool:
        """Whether rows are still kept."""
        return self._is_writable

    def give_up(self, error: OSError) -> None:
        """Write nothing any more, and say so the first time."""
        if self._is_writable:
            self._is_writable = False
            place, reason = printable(str(self.folder)), error.strerror or str(error)
            print(
                f"warning: embeddings cannot be kept in {place} ({reason}); going on without keeping them",
                file=sys.stderr,
                flush=True,
            )


class RowStore:
    """The embeddings of one model under one request, from its folder and from memory.

    Args:
        cache: which says whether anything may be written.
        folder: None for memory only.
        model: the model's name.
    """

    def __init__(self, cache: EmbeddingCache, folder: Path | None, model: str = "") -> None:
        self._cache, self._folder, self._model = cache, folder, model
        self._segments: list[Segment] = []
        if folder is not None:
            mark_used(folder)
            self._segments += _segments_in(folder)

    @property
    def bytes_held(self) -> int:
        """Bytes of the rows that are in memory and in no file."""
        return sum(segment.matrix.nbytes for segment in self._segments if segment.path is None)

    @property
    def dim(self) -> int | None:
        """D of the rows that are kept; None if there are none."""
        return self._segments[0].matrix.shape[1] if self._segments else None

    def missing(self, keys: np.ndarray) -> np.ndarray:
        """The positions among `keys` (n,) that no row is kept for, increasing."""
        whole = self._find_whole(keys)
        if whole is None:
            return np.flatnonzero(self._find(keys)[0] < 0)
        unkept = np.flatnonzero(whole.keys == NO_KEY)
        return unkept[self._find(keys[unkept])[0] < 0]

    def add(self, keys: np.ndarray, matrix: np.ndarray, reasons: dict[int, str]) -> None:
        """Keep rows (n, D) under their keys (n,), with the reasons of those that are NaN."""
        segment = self._write(keys, [matrix], matrix.shape[1], reasons)
        self._segments.append(segment or Segment(keys, matrix, reasons))

    def gather(self, keys: np.ndarray, join: bool) -> tuple[np.ndarray, dict[int, str]]:
        """The rows of `keys` (n,): (n, D), NaN where none is kept, and the reasons that are known of NaN rows.

        Args:
            join: whether to keep them together from now on; they come back mapped into memory then.
        """
        if (whole := self._find_whole(keys)) is not None:
            # A row without a key was not kept, and is tried each time: it may have been added since.
            kept_since = self._find(keys[whole.keys == NO_KEY])[0] >= 0
            if not kept_since.any():
                return whole.matrix, whole.reasons
        which, row = self._find(keys)
        dim, reasons = self.dim or 0, self._reasons(which, row)
        blocks = self._blocks(which, row, dim)
        if not join or not (which >= 0).any():
            return _stacked(blocks, len(keys), dim), reasons
        kept = np.where(which >= 0, keys, NO_KEY).astype(KEY)
        joined = self._write(kept, blocks, dim, reasons)
        if joined is None:
            joined = Segment(kept, _stacked(self._blocks(which, row, dim), len(keys), dim), reasons)
        self._replace_parts(joined)
        return joined.matrix, reasons

    def _find_whole(self, keys: np.ndarray) -> Segment | None:
        """The segment of just these rows in just this order, though some of its rows may not have been kept."""
        for segment in self._segments:
            if len(segment.keys) == len(keys) and ((segment.keys == keys) | (segment.keys == NO_KEY)).all():
                return segment
        return None

    def _find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each key the number of a segment and the row in it, (n,) each; -1 where there is none."""
        which, row = np.full(len(keys), -1), np.full(len(keys), -1)
        if not self._segments or not len(keys):
            return which, row
        every = np.concatenate([segment.keys for segment in self._segments])
        sizes = [len(segment.keys) for segment in self._segments]
        order = np.argsort(every, kind="stable")
        place = order[np.minimum(np.searchsorted(every, keys, sorter=order), len(every) - 1)]
        known = (every[place] == keys) & (keys != NO_KEY)
        ends = np.cumsum(sizes)
        which[known] = np.searchsorted(ends, place[known], side="right")
        row[known] = place[known] - (ends - sizes)[which[known]]
        return which, row

    def _reasons(self, which: np.ndarray, row: np.ndarray) -> dict[int, str]:
        """Why rows are NaN, by their position."""
        found: dict[int, str] = {}
        for number, segment in enumerate(self._segments):
            if segment.reasons:
                positions = np.flatnonzero((which == number) & np.isin(row, list(segment.reasons)))
                found |= {position: segment.reasons[int(row[position])] for position in positions.tolist()}
        return found

    def _blocks(self, which: np.ndarray, row: np.ndarray, dim: int) -> Iterator[np.ndarray]:
        for start in range(0, len(which), BLOCK_ROWS):
            of, rows = which[start : start + BLOCK_ROWS], row[start : start + BLOCK_ROWS]
            block = np.full((len(of), dim), np.nan, np.float32)
            for number in np.unique(of[of >= 0]):
                block[of == number] = self._segments[number].matrix[rows[of == number]]
            yield block

    def _write(
        self, keys: np.ndarray, blocks: Sequence[np.ndarray] | Iterator[np.ndarray], dim: int, reasons: dict[int, str]
    ) -> Segment | None:
        """A segment on disk; None where nothing can be kept."""
        if self._folder is None or not self._cache.is_writable:
            return None
        try:
            describe(self._folder, self._model)
            return write_segment(self._folder / segment_name(keys), keys, blocks, dim, reasons)
        except OSError as error:
            self._cache.give_up(error)
            return None

    def _replace_parts(self, joined: Segment) -> None:
        """Drop the segments whose rows are all in `joined`. Those who still read them have them mapped."""
        left = []
        for segment in self._segments:
            is_part = (np.isin(segment.keys, joined.keys) | (segment.keys == NO_KEY)).all()
            if not is_part or (joined.path is None and segment.path is not None):
                left.append(segment)
            elif segment.path is not None and segment.path != joined.path:
                with suppress(OSError):
                    segment.path.unlink()
        self._segments = [*left, joined]


def _stacked(blocks: Iterator[np.ndarray], rows: int, dim: int) -> np.ndarray:
    matrix = np.empty((rows, dim), np.float32)
    for number, block in enumerate(blocks):
        matrix[number * BLOCK_ROWS : number * BLOCK_ROWS + len(block)] = block
    return matrix


def _segments_in(folder: Path) -> Iterator[Segment]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for path in entries:
        if path.suffix == ".rows" and (segment := read_segment(path)) is not None:
            yield segment
        elif path.suffix == ".partial":
            with suppress(OSError):  # of a process that was killed
                if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                    path.unlink()
