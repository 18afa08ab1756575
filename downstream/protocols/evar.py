"""The protocol behind the published BYOL-A numbers (EVAR): a linear layer on one crop of each training clip."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from byol_a.errors import ByolaError
from downstream.features import EmbeddingRequest
from downstream.probes.gradient import HeadSpec, fit_heads
from downstream.protocols.base import RESAMPLES, ProbeResult, diverged, fitting, one_hot, scored
from downstream.protocols.rows import StandardisedRows, training_and_validation
from downstream.protocols.settings import check_settings
from downstream.tasks.base import Task

if TYPE_CHECKING:
    from downstream.features import EmbeddingSource


@dataclass(frozen=True)
class EvarProtocol:
    """One linear layer trained by Adam on one random crop of the set's unit from each clip.

    Training and validation clips are cropped at random, test clips give their first unit, shorter ones are
    zero-padded at the end; sets without a unit are taken as whole clips. Log-mels are normalised by the
    statistics of the round's training clips, all of them, once for all seeds. Then 10 % of the training clips
    are held out where the set has no validation part of its own; embeddings are standardised on the others. The
    best weights by validation score (accuracy, or mAP where a clip may have several labels) are tested.

    Attributes:
        lr: of Adam; the recipes in `recipes/evaluate` hold the sets' own.
        seeds: of crops, held-out clips, weights and batches.
        normalization: "task", or "model" to leave the model's own statistics.
    """

    name: ClassVar[str] = "evar"
    needs_network: ClassVar[bool] = False
    lr: float = 3e-4
    seeds: tuple[int, ...] = (42, 43, 44)
    batch_size: int = 200
    max_epochs: int = 200
    patience: int = 20
    weight_decay: float = 1e-8
    valid_fraction: float = 0.1
    normalization: Literal["task", "model"] = "task"
    resamples: int = RESAMPLES

    def __post_init__(self) -> None:
        check_settings(self)

    def run(self, task: Task, source: EmbeddingSource, device: str, progress: bool | None) -> list[ProbeResult]:
        """See `EvaluationProtocol.run`."""
        rounds, targets = task.rounds(), one_hot(task)
        logits: list[list[np.ndarray]] = [[] for _ in self.seeds]
        chosen: list[list[dict[str, Any]]] = [[] for _ in self.seeds]
        with fitting("linear evaluation", len(rounds) * len(self.seeds), progress) as bar:
            for part in rounds:
                stats = source.statistics(part.train) if self.normalization == "task" else None
                tested = _embedded(task, source, part.test, "first", 0, stats)
                for place, seed in enumerate(self.seeds):
                    train, valid = training_and_validation(task, part, seed, self.valid_fraction)
                    crops = _embedded(task, source, train + valid, "random", seed, stats)
                    scores, epochs = self._fit(task, targets, train, valid, crops, tested, seed, device)
                    logits[place].append(scores)
                    chosen[place].append({"epochs": epochs})
                    bar.advance()
        tests = [part.test for part in rounds]
        return [
            scored(task, "linear", tests, logits, seeds=self.seeds, chosen=chosen, resamples=self.resamples),
        ]

    def _fit(
        self,
        task: Task,
        targets: np.ndarray,
        train: list[int],
        valid: list[int],
        crops: np.ndarray,
        tested: np.ndarray,
        seed: int,
        device: str,
    ) -> tuple[np.ndarray, int]:
        """Logits (N_test, C) of embeddings `tested`, and after how many epochs the weights were best.

        Args:
            crops: embeddings of the clips `train` and `valid`, in this order.
        """
        rows = StandardisedRows(np.concatenate([crops, tested]), range(len(train)))
        ends = np.cumsum([len(train), len(valid), len(tested)])
        train_x, valid_x, test_x = (rows[range(a, b)] for a, b in itertools.pairwise([0, *ends]))
        fitted = fit_heads(
            train_x,
            targets[train],
            valid_x,
            targets[valid],
            [HeadSpec(lr=self.lr, weight_decay=self.weight_decay, seed=seed)],
            batch_size=self.batch_size,
            max_epochs=self.max_epochs,
            patience=self.patience,
            multi_label=task.multi_label,
            device=device,
            progress=False,
        )
        if not fitted.epochs[0]:
            raise diverged(self.name, self.lr)
        return fitted.scores(test_x)[0], int(fitted.epochs[0])


def _embedded(
    task: Task,
    source: EmbeddingSource,
    indices: list[int],
    cut: Literal["first", "random"],
    seed: int,
    stats: tuple[float, float] | None,
) -> np.ndarray:
    """Embeddings (n, D) of a unit of each clip, or of the whole where the set has no unit.

    Raises:
        ByolaError: for a clip that was usable and is not any more.
    """
    request = EmbeddingRequest("whole" if task.unit_seconds is None else cut, task.unit_seconds, seed, stats)
    matrix = source.only(indices).matrix(request)
    bad = np.flatnonzero(np.isnan(matrix).any(axis=1))
    if len(bad):
        index = indices[bad[0]]
        reasons = [reason for _, reason in source.only([index]).problems.items()] or ["its embedding is not finite"]
        raise ByolaError(f"{task.clips[index].path} could be used at first and cannot be now: {reasons[0]}")
    return matrix
