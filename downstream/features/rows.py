"""The rows of a task's clips: found in the cache, or made and kept as they are made."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from byol_a import __version__
from byol_a.errors import AudioError, ByolaError
from byol_a.progress import Progress
from downstream.features.base import Features, Piece, Row
from downstream.features.cache import BLOCK_ROWS, EmbeddingCache, RowStore
from downstream.features.digests import FileDigests
from downstream.features.request import EmbeddingRequest
from downstream.features.segments import FORMAT, KEY
from downstream.tasks.base import Clip

MEMORY_BYTES = 2 << 30  # of embeddings that no file holds
_LASTING_SECONDS = 5.0
_KEEP_EVERY_SECONDS = 60.0  # a slow encoder loses no more than this much work
# Permissions, a flaky disk, another libsndfile: such a file may well be read the next time.
_PASSING = ("unreadable", "unsupported")


class ClipRows:
    """All rows that are made of some clips: of any features, under any request.

    Args:
        clips: of a task; a random cut's place follows a clip's index among them.
        cache: where rows are looked for and kept.
        progress: as `byol_a.progress.Progress` takes it.
    """

    def __init__(self, clips: Sequence[Clip], cache: EmbeddingCache, progress: bool | None = None) -> None:
        self.clips, self.cache, self.progress = tuple(clips), cache, progress
        self._digests: FileDigests | None = None
        self._keys: dict[bool, np.ndarray] = {}
        self._stores: dict[str, RowStore] = {}

    def get(
        self, features: Features, request: EmbeddingRequest, indices: np.ndarray, doing: str = "embedding"
    ) -> tuple[np.ndarray, dict[int, str]]:
        """Rows (n, D) float32 of the clips `indices` (n,), and why some are NaN, by their index among all clips.

        Raises:
            ByolaError: if an embedding is not finite.
        """
        request = request.canonical
        store, keys = self._store(features, request), self._keys_for(request)[indices]
        if not len(keys):
            return np.zeros((0, store.dim or 0), np.float32), {}
        failed: dict[int, str] = {}
        missing = store.missing(keys)
        if len(missing):
            pieces = [Piece(int(indices[place]), self.clips[indices[place]]) for place in missing]
            rows = features.extract(pieces, request)
            began = time.monotonic()
            with Progress(doing, len(keys), "clip", self.progress, start=len(keys) - len(pieces)) as bar:
                failed = self._make(features, rows, pieces, keys[missing], store, bar)
                if time.monotonic() - began < _LASTING_SECONDS:
                    bar.enabled = False  # no closing line for what nobody had to wait for
        is_all = len(indices) == len(self.clips)  # indices are distinct, and a part is joined with what it is part of
        matrix, reasons = store.gather(keys, join=is_all)
        self._bound_memory(store)
        return matrix, failed | {int(indices[place]): reason for place, reason in reasons.items()}

    def content_fingerprint(self) -> str:
        """32 hexadecimal digits of what is heard in the clips, in their order; their files' names do not matter."""
        digest = hashlib.blake2b(digest_size=16)
        for clip, content in zip(self.clips, self._file_digests().contents, strict=True):
            digest.update(content)
            if clip.section is not None:
                digest.update(repr(clip.section).encode())
        return digest.hexdigest()

    def _make(
        self,
        features: Features,
        rows: Iterator[Row],
        pieces: list[Piece],
        keys: np.ndarray,
        store: RowStore,
        bar: Progress,
    ) -> dict[int, str]:
        """Take rows as they are made and keep them; returns why some are not there, of those that are not kept."""
        made = _Made(keys, store, lambda place: self._is_current(pieces[place].index))
        passing: dict[int, str] = {}
        try:
            for place, (piece, row) in enumerate(zip(pieces, rows, strict=True)):
                if not isinstance(row, AudioError):
                    made.add(place, _checked(row, piece, features, store.dim))
                elif row.reason.startswith(_PASSING):
                    passing[piece.index] = row.reason
                else:
                    made.failures[place] = row.reason
                bar.advance()
        finally:  # what was made is kept, whatever ended it
            made.keep()
        # Where nothing at all could be made, the size of a row is not known, and nothing could be kept.
        unkept = made.failures | dict.fromkeys(made.changed, "changed: written to while it was being embedded")
        return passing | {pieces[place].index: reason for place, reason in unkept.items()}

    def _store(self, features: Features, request: EmbeddingRequest) -> RowStore:
        # The version stands for the code that reads audio and runs encoders: a new one embeds anew.
        of_what = json.dumps([FORMAT, __version__, features.fingerprint(), features.sample_rate, request.identity()])
        name = hashlib.blake2b(of_what.encode(), digest_size=16).hexdigest()
        if name not in self._stores:
            self._stores[name] = self.cache.rows(name, features.name)
        return self._stores[name]

    def _bound_memory(self, latest: RowStore) -> None:
        held = sum(store.bytes_held for store in self._stores.values())
        for name, store in list(self._stores.items()):
            if held <= MEMORY_BYTES:
                return
            if store is not latest and store.bytes_held:
                held -= store.bytes_held
                del self._stores[name]

    def _file_digests(self) -> FileDigests:
        if self._digests is None:
            self._digests = self.cache.digests([clip.path for clip in self.clips], self.progress)
        return self._digests

    def _is_current(self, index: int) -> bool:
        """Whether a clip's file still holds what its key says; without keys of contents nothing is claimed."""
        return self.cache.folder is None or self._file_digests().is_current(index)

    def _keys_for(self, request: EmbeddingRequest) -> np.ndarray:
        """What each clip's row is made from, (N,) `KEY`."""
        is_random = request.cut == "random"
        if is_random not in self._keys:
            if self.cache.folder is None:  # found again within this task only: there is no need to read the files
                contents: Iterator[bytes] = (str(clip.path).encode(errors="surrogateescape") for clip in self.clips)
            else:
                contents = iter(self._file_digests().contents)
            keys = np.empty(len(self.clips), KEY)
            for index, (clip, content) in enumerate(zip(self.clips, contents, strict=True)):
                digest = hashlib.blake2b(content, digest_size=KEY.itemsize)
                digest.update(repr((clip.section, index if is_random else None)).encode())
                keys[index] = digest.digest()
            self._keys[is_random] = keys
        return self._keys[is_random]


class _Made:
    """Rows that were made and not kept yet, and the lasting failures among them.

    Args:
        keys: (n,) under which rows are kept.
        is_current: whether the file of the clip at a place is still the one that its key was made of.

    Attributes:
        failures: why there is no row, by place.
        changed: places whose file was another one by the time that it was read: their rows are not kept.
    """

    def __init__(self, keys: np.ndarray, store: RowStore, is_current: Callable[[int], bool]) -> None:
        self._keys, self._store, self._is_current = keys, store, is_current
        self._rows: dict[int, np.ndarray] = {}
        self.failures: dict[int, str] = {}
        self.changed: list[int] = []
        self._last_kept = time.monotonic()

    def add(self, place: int, row: np.ndarray) -> None:
        """Take the row at `place` among the keys; those of a full block are kept."""
        self._rows[place] = row
        if len(self._rows) >= BLOCK_ROWS or time.monotonic() - self._last_kept > _KEEP_EVERY_SECONDS:
            self.keep()

    def keep(self) -> None:
        """Keep all that is there."""
        self._last_kept = time.monotonic()
        for place in [place for place in (*self._rows, *self.failures) if not self._is_current(place)]:
            self.changed.append(place)
            self._rows.pop(place, None)
            self.failures.pop(place, None)
        dim = len(next(iter(self._rows.values()))) if self._rows else self._store.dim
        places = np.asarray(sorted([*self._rows, *self.failures]), dtype=int)
        if dim is None or not len(places):
            return
        nothing = np.full(dim, np.nan, np.float32)
        matrix = np.stack([self._rows.get(place, nothing) for place in places.tolist()])
        reasons = {row: self.failures[place] for row, place in enumerate(places.tolist()) if place in self.failures}
        self._store.add(self._keys[places], matrix, reasons)
        self._rows, self.failures = {}, {}


def _checked(row: np.ndarray, piece: Piece, features: Features, dim: int | None) -> np.ndarray:
    if not np.isfinite(row).all():
        cause = "" if features.frontend is None else "; its weights or its normalisation are damaged"
        raise ByolaError(f"{features.name} gives an embedding that is not finite for {piece.clip.path}{cause}")
    if dim is not None and len(row) != dim:
        raise ByolaError(
            f"{features.name} gives embeddings of {len(row)} numbers, and gave others of {dim} under the same "
            f"fingerprint; give it another fingerprint, or use --no-cache"
        )
    return row
