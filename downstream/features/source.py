"""What a protocol asks for embeddings: matrices of a task's clips, cut and normalised as it says."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from byol_a.data.report import FileReport
from byol_a.errors import AudioError, ByolaError
from downstream.features.base import Features
from downstream.features.cache import EmbeddingCache
from downstream.features.request import EmbeddingRequest
from downstream.features.rows import ClipRows
from downstream.tasks.base import Clip

if TYPE_CHECKING:
    from byol_a.frontend import LogMel

MOST_STATISTICS_CLIPS = 10_000


class EmbeddingSource:
    """The embeddings of a task's clips by one kind of features, made when asked for and kept in a cache.

    Args:
        features: what embeds.
        clips: of the task, in its order.
        cache: where embeddings are kept. Without a folder they are kept in memory, up to 2 GB of them.
        progress: as `byol_a.progress.Progress` takes it.

    Attributes:
        indices: (N,) each clip's index in the task.
    """

    def __init__(
        self, features: Features, clips: Sequence[Clip], cache: EmbeddingCache, progress: bool | None = None
    ) -> None:
        self.features = features
        self.indices = np.arange(len(clips))
        self._rows = ClipRows(clips, cache, progress)
        self._reasons: dict[int, str] = {}  # why clips could not be used, by index in the task
        self._said: set[str] = set()  # what is said once, for the parts as well
        self._last: tuple[EmbeddingRequest, np.ndarray] | None = None

    @property
    def clips(self) -> tuple[Clip, ...]:
        """The clips, one for each row."""
        clips = self._rows.clips
        return clips if len(self.indices) == len(clips) else tuple(clips[index] for index in self.indices)

    @property
    def problems(self) -> FileReport:
        """The clips that the matrices asked for so far have no embedding of, and why."""
        report = FileReport()
        own = set(self.indices.tolist())
        for index, reason in self._reasons.items():
            if index in own:
                report.add(_clip_name(self._rows.clips[index]), reason)
        return report

    def usable(self) -> list[int]:
        """The indices of the clips that no matrix asked for so far lacks an embedding of."""
        return [place for place, index in enumerate(self.indices.tolist()) if index not in self._reasons]

    def only(self, indices: Iterable[int]) -> EmbeddingSource:
        """The source of some of the clips, which are embedded without the others where they were not yet.

        Random cuts stay those of the whole task.
        """
        part = EmbeddingSource.__new__(EmbeddingSource)
        part.features, part._rows, part._reasons = self.features, self._rows, self._reasons
        part._said, part._last = self._said, None
        part.indices = self.indices[np.asarray(list(indices), dtype=int)]
        return part

    def matrix(self, request: EmbeddingRequest = EmbeddingRequest()) -> np.ndarray:  # noqa: B008 (frozen)
        """Embeddings (N, D) float32, not to be written to; NaN for clips that cannot be used (see `problems`).

        Those of all of a task's clips are mapped into memory from the cache.

        Raises:
            ByolaError: if no clip at all could be used, or an embedding is not finite.
        """
        if self.features.frontend is None and request.stats is not None:
            self._say_stats_are_ignored()
            request = replace(request, stats=None)
        request = request.canonical
        if self._last is None or self._last[0] != request:
            self._last = None  # before another is made
            matrix, reasons = self._rows.get(self.features, request, self.indices)
            self._refuse_nothing(reasons)
            self._reasons |= reasons
            self._last = request, matrix
        return self._last[1]

    def statistics(self, indices: Iterable[int]) -> tuple[float, float] | None:
        """Mean and standard deviation of the log-mels of whole clips, with the features' own front-end.

        Of at most 10,000 of the clips, drawn at random. None where the features have no log-mels to normalise, which
        is said once.

        Raises:
            ByolaError: if none of the clips can be used.
        """
        if self.features.frontend is None:
            self._say_stats_are_ignored()
            return None
        chosen = self.indices[np.asarray(list(indices), dtype=int)]
        return log_mel_statistics(self._rows, self.features.frontend, chosen)

    def wave(self, index: int, sample_rate: int | None = None) -> np.ndarray:
        """The audio of a clip as mono float32 (S,), at the features' own rate if none is given.

        Raises:
            AudioError: if the file cannot be used.
        """
        from downstream.features.cuts import read_clip

        return read_clip(self._rows.clips[self.indices[index]], sample_rate or self.features.sample_rate)

    def waves(
        self, indices: Iterable[int] | None = None, sample_rate: int | None = None
    ) -> Iterator[tuple[int, np.ndarray | AudioError]]:
        """(index, wave (S,)) of some clips, or of all, in order, read ahead by threads; an error for a bad file."""
        from byol_a.inputs import read_ahead

        def load(index: int) -> np.ndarray | AudioError:
            try:
                return self.wave(index, sample_rate)
            except AudioError as error:
                return error

        yield from read_ahead(load, range(len(self.indices)) if indices is None else indices)  # type: ignore[misc]

    def data_fingerprint(self) -> str:
        """32 hexadecimal digits of what is heard in the task's clips, in their order; names do not matter."""
        return self._rows.content_fingerprint()

    def _refuse_nothing(self, reasons: dict[int, str]) -> None:
        if len(self.indices) and len(reasons) >= len(self.indices):
            index = min(reasons)
            raise ByolaError(
                f"none of the {len(self.indices)} clips could be used; one of them: "
                f"{_clip_name(self._rows.clips[index])}: {reasons[index]}"
            )

    def _say_stats_are_ignored(self) -> None:
        sentence = f"{self.features.name} takes audio as it is: the task's log-mel statistics play no part in it"
        if sentence not in self._said:
            self._said.add(sentence)
            print(sentence, file=sys.stderr, flush=True)


def log_mel_statistics(rows: ClipRows, frontend: LogMel, indices: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """`EmbeddingSource.statistics` of the clips `indices` among `rows.clips`, with any front-end."""
    from byol_a.frontend import LogMel
    from downstream.features.logmel import LogMelMoments, combine_moments

    if not len(indices):
        raise ByolaError("there are no clips to take normalisation statistics of")
    chosen = np.sort(indices[np.random.default_rng(seed).permutation(len(indices))[:MOST_STATISTICS_CLIPS]])
    # A front-end of its own: the model's may be on a GPU by now.
    moments, reasons = rows.get(
        LogMelMoments(LogMel(frontend.config)), EmbeddingRequest(), chosen, "normalisation statistics"
    )
    if len(reasons) >= len(chosen):
        index = min(reasons)
        raise ByolaError(
            f"none of the {len(chosen)} clips could be used for normalisation statistics; one of them: "
            f"{_clip_name(rows.clips[index])}: {reasons[index]}"
        )
    return combine_moments(moments[[index not in reasons for index in chosen.tolist()]])


def _clip_name(clip: Clip) -> str:
    return str(clip.path) if clip.section is None else f"{clip.path} [{clip.section[0]:g}-{clip.section[1]:g} s]"
