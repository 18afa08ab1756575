"""HEAR (Turian et al. 2022, arXiv 2203.03022): a small network on embeddings, the best of a few grid points."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from byol_a.progress import Progress
from downstream.probes.gradient import HeadSpec, fit_heads
from downstream.protocols.base import RESAMPLES, ProbeResult, diverged, fitting, one_hot, scored
from downstream.protocols.rows import training_and_validation
from downstream.protocols.settings import check_settings
from downstream.tasks.base import Round, Task

if TYPE_CHECKING:
    from downstream.features import EmbeddingSource


@dataclass(frozen=True)
class HearProtocol:
    """A perceptron of one or two hidden layers; of some grid points, the best on validation is tested.

    Whole clips, embeddings as they come. A set of three folds or more is validated on the fold after the one
    that is tested; a set of two folds, or without folds and a validation part of its own, on a tenth of its
    training clips. Epochs and grid points are chosen by accuracy, or by mAP where a clip may have several
    labels, whatever the task's own metric.

    Attributes:
        hidden_layers, lrs: the grid.
        grid_points: how many points are drawn from the grid, without repetition.
        batch_size: of the authors' kit.
        seed: of the drawn points, the weights, the batches, and the clips held out.
    """

    name: ClassVar[str] = "hear"
    needs_network: ClassVar[bool] = False
    hidden_layers: tuple[int, ...] = (1, 2)
    lrs: tuple[float, ...] = (3.2e-3, 1e-3, 3.2e-4, 1e-4)
    hidden_dim: int = 1024
    dropout: float = 0.1
    grid_points: int = 8
    batch_size: int = 1024
    max_epochs: int = 500
    patience: int = 20
    valid_fraction: float = 0.1
    seed: int = 0
    resamples: int = RESAMPLES

    def __post_init__(self) -> None:
        check_settings(self)

    def run(self, task: Task, source: EmbeddingSource, device: str, progress: bool | None) -> list[ProbeResult]:
        """See `EvaluationProtocol.run`."""
        embeddings, rounds, points = source.matrix(), task.rounds(), self._points()
        targets = one_hot(task)
        logits: list[np.ndarray] = []
        chosen: list[dict[str, Any]] = []
        with fitting("fitting networks", len(rounds) * len(points), progress) as bar:
            for part in rounds:
                scores, best = self._best(task, targets, part, rounds, embeddings, points, device, bar)
                logits.append(scores)
                chosen.append(best)
        tests = [part.test for part in rounds]
        return [
            scored(task, "mlp", tests, [logits], seeds=(self.seed,), chosen=[chosen], resamples=self.resamples),
        ]

    def _points(self) -> list[tuple[int, float]]:
        """(hidden layers, learning rate), drawn from the grid."""
        grid = list(itertools.product(self.hidden_layers, self.lrs))
        drawn = np.random.default_rng(self.seed).permutation(len(grid))[: self.grid_points]
        return [grid[index] for index in sorted(drawn)]

    def _best(
        self,
        task: Task,
        targets: np.ndarray,
        part: Round,
        rounds: list[Round],
        embeddings: np.ndarray,
        points: list[tuple[int, float]],
        device: str,
        bar: Progress,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Logits (N_test, C) of the point that does best on validation, and that point."""
        train, valid = self._training_and_validation(task, part, rounds)
        best: tuple[float, np.ndarray, dict[str, Any]] | None = None
        for depth, of_depth in itertools.groupby(points, key=lambda point: point[0]):
            lrs = [lr for _, lr in of_depth]
            fitted = fit_heads(
                embeddings[train],
                targets[train],
                embeddings[valid],
                targets[valid],
                [
                    HeadSpec(
                        lr=lr, hidden_layers=depth, hidden_dim=self.hidden_dim, dropout=self.dropout, seed=self.seed
                    )
                    for lr in lrs
                ],
                batch_size=self.batch_size,
                max_epochs=self.max_epochs,
                patience=self.patience,
                multi_label=task.multi_label,
                device=device,
                progress=False,
            )
            place = int(np.argmax(fitted.valid_scores))
            value = float(fitted.valid_scores[place])
            if fitted.epochs[place] and (best is None or value > best[0]):
                about = {"hidden_layers": depth, "lr": lrs[place], "epochs": int(fitted.epochs[place])}
                best = value, fitted.scores(embeddings[part.test])[place], about
            bar.advance(len(lrs))
        if best is None:
            raise diverged(self.name, min(self.lrs))
        return best[1], best[2]

    def _training_and_validation(self, task: Task, part: Round, rounds: list[Round]) -> tuple[list[int], list[int]]:
        if len(rounds) < 3:
            return training_and_validation(task, part, self.seed, self.valid_fraction)
        following = rounds[(rounds.index(part) + 1) % len(rounds)].test
        held_out = set(following)
        return [index for index in part.train if index not in held_out], list(following)
