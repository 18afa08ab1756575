"""Embeddings without audio: of numbered files, whose label is whether the number is even."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from byol_a.errors import AudioError
from downstream.entrants import Entrant
from downstream.evaluate import Outcome, evaluate
from downstream.features import EmbeddingCache, EmbeddingRequest
from downstream.features.base import Piece, Row
from downstream.protocols import EvaluationProtocol
from downstream.protocols.default import DefaultProtocol
from downstream.tasks import Clip, Task

FAST = DefaultProtocol(C_grid=(0.1, 1.0), seeds=(0,), resamples=20)


class MadeFeatures:
    """The number's parity and noise, in four dimensions; `bad` numbers cannot be used."""

    sample_rate, frontend = 16000, None

    def __init__(self, name: str, fingerprint: str = "0123456789abcdef", noise: float = 0.0, bad: int = -1) -> None:
        self.name, self._fingerprint, self.noise, self.bad = name, fingerprint, noise, bad
        self.extracted = 0

    def fingerprint(self) -> str:
        return self._fingerprint

    def extract(self, pieces: Sequence[Piece], request: EmbeddingRequest) -> Iterator[Row]:
        for piece in pieces:
            number = int(piece.clip.path.stem.partition("_")[0])
            self.extracted += 1
            rng = np.random.default_rng(number)
            if number == self.bad:
                yield AudioError(piece.clip.path, "not audio: made so")
            else:
                parity = number % 2 + self.noise * rng.normal()
                yield np.asarray([parity, *rng.normal(size=3)], dtype=np.float32)


def made_task(labels: tuple[tuple[str, ...], ...] = (("$a^$",), ("b",)), clips: int = 30) -> Task:
    """Two thirds train, the rest test."""
    made = tuple(
        Clip(Path(f"/nowhere/{i}.wav"), labels[i % len(labels)], "test" if i >= 2 * clips // 3 else "train")
        for i in range(clips)
    )
    return Task("made", "label", made, tuple(sorted({name for names in labels for name in names})), "given")


def outcomes_of(
    task: Task, *features: MadeFeatures, protocols: Sequence[EvaluationProtocol] = (FAST,), draw_map: bool = False
) -> list[Outcome]:
    return [
        outcome
        for made in features
        for outcome in evaluate(
            task,
            Entrant(made.name, made),
            protocols,
            EmbeddingCache(None),
            "cpu",
            lambda line: None,
            draw_map=draw_map,
            progress=False,
        )
    ]
