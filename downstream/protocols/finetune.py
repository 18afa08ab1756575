"""Fine-tuning: the whole network is trained on the task, from the weights it comes with."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch

from byol_a.augment import RandomResizeCropConfig
from byol_a.device import pick_device
from byol_a.errors import UsageError
from byol_a.progress import Progress
from downstream.features.model import ModelFeatures
from downstream.protocols.base import RESAMPLES, ProbeResult, one_hot, scored, validation_value
from downstream.protocols.finetuning import (
    Classifier,
    ClipWaves,
    Examples,
    Fitted,
    Judge,
    SpecAugmentConfig,
    classification_loss,
    fit,
    predict,
)
from downstream.protocols.rows import training_and_validation
from downstream.protocols.settings import at_least, check_settings
from downstream.tasks.base import Round, Task

if TYPE_CHECKING:
    from byol_a import BYOLA
    from downstream.features import EmbeddingSource, Features

USUAL = {"adamw": (1e-3, 0.05), "sgd": (0.03, 1e-4)}  # learning rate and weight decay


@dataclass(frozen=True)
class FinetuneProtocol:
    """The whole network and a linear layer on its clip embedding, trained for each round and seed anew.

    Trained on random crops of the task's unit; the epoch that validates best is tested, by score and, within
    its standard error, by likelihood (see `finetuning.choice`). Without a validation part of the set's own,
    one is held out of the training clips and stays out.

    Attributes:
        optimizer: "adamw", or "sgd" with Nesterov momentum .9.
        lr: at its highest; None for .001 (adamw) or .03 (sgd).
        weight_decay: of weights, not of biases and batch norms; None for .05 (adamw) or 1e-4 (sgd).
        epochs: over the training clips; the learning rate falls as half a cosine over all of them.
        warmup_epochs: in which it rises first.
        freeze_epochs: at the beginning, in which only the linear layer is trained; then the encoder warms up.
        patience: epochs since the highest validation score after which training ends; None for never.
        mixup: the most that a clip takes of another clip, sound and label; 0 for none, 1 at most.
        random_resize_crop: shifts and stretches of the log-mel; None for none.
        spec_augment: masks on it; None for none.
        head_dropout: of the clip embedding.
        unit_seconds: of the crops; None for the task's own unit, and where it has none for a length that nine
            training clips in ten do not exceed (at most 10 s).
        test_cut: `"whole"` scores a clip by the mean of the logits of the units that cover it, `"first"` by its
            first unit alone.
        seeds: of the validation part drawn, the linear layer's weights, crops, batches and augmentation.
        valid_fraction: of the training clips, at least one group where groups are known.
        memory_gb: of decoded audio kept in memory; what is beyond it is decoded again in every epoch. An hour
            at 16 kHz takes .115.
        resamples: of the bootstrap.
    """

    name: ClassVar[str] = "finetune"
    needs_network: ClassVar[bool] = True
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float | None = None
    weight_decay: float | None = None
    epochs: int = 50
    warmup_epochs: float = 5.0
    freeze_epochs: int = 0
    patience: int | None = None
    batch_size: int = 32
    mixup: float = 0.2
    random_resize_crop: RandomResizeCropConfig | None = field(default_factory=RandomResizeCropConfig)
    spec_augment: SpecAugmentConfig | None = field(default_factory=SpecAugmentConfig)
    head_dropout: float = 0.2
    unit_seconds: float | None = None
    test_cut: Literal["whole", "first"] = "whole"
    seeds: tuple[int, ...] = (0, 1, 2)
    valid_fraction: float = 0.1
    memory_gb: float = 4.0
    resamples: int = RESAMPLES

    def __post_init__(self) -> None:
        below = "at least 0 and below epochs", lambda count: 0 <= count < self.epochs
        check_settings(self, batch_size=at_least(2), freeze_epochs=below)

    @property
    def peak_lr(self) -> float:
        """The learning rate after warm-up."""
        return USUAL[self.optimizer][0] if self.lr is None else self.lr

    @property
    def decay(self) -> float:
        """The weight decay."""
        return USUAL[self.optimizer][1] if self.weight_decay is None else self.weight_decay

    def run(self, task: Task, source: EmbeddingSource, device: str, progress: bool | None) -> list[ProbeResult]:
        """See `EvaluationProtocol.run`. No embeddings are asked of `source`, but its model and its clips.

        Raises:
            UsageError: if `source` has no model to train.
        """
        features, rounds, targets = trainable(source.features), task.rounds(), one_hot(task)
        rate = features.sample_rate
        waves = ClipWaves(lambda index: source.wave(index, rate), rate, self.memory_gb * 1e9)
        logits: list[list[np.ndarray]] = []
        chosen: list[list[dict[str, Any]]] = []
        total = len(self.seeds) * self.epochs * sum(len(self._parts(task, part, 0)[0]) for part in rounds)
        with Progress("fine-tuning", total, "clip", progress) as bar:
            for seed in self.seeds:
                logits.append([])
                chosen.append([])
                for part in rounds:
                    bar.advance(0, seed=seed, round=part.name)
                    fitted, of_round = self._fit_and_test(task, targets, part, features, waves, seed, device, bar)
                    logits[-1].append(of_round)
                    chosen[-1].append({"epoch": fitted.epoch})
        if len(waves.problems):
            said = waves.problems.summary(len(task.clips))
            print(f"{source.features.name}: {said}; left out of training and scores", file=sys.stderr, flush=True)
        tests, scores = _tested(rounds, logits, waves)
        return [
            scored(task, "finetune", tests, scores, seeds=self.seeds, chosen=chosen, resamples=self.resamples),
        ]

    def _fit_and_test(
        self,
        task: Task,
        targets: np.ndarray,
        part: Round,
        features: ModelFeatures,
        waves: ClipWaves,
        seed: int,
        device: str,
        bar: Progress,
    ) -> tuple[Fitted, np.ndarray]:
        """Train a copy of the model; its best epoch, and what that says of the test clips (N_test, C)."""
        train, valid = self._parts(task, part, seed)
        network = Classifier(features.model, len(task.classes), self.head_dropout, seed, features.pooling)
        samples = self._unit_samples(task, features.model, waves, train)
        examples, judge = Examples(waves, targets, samples, task.multi_label), judge_of(task, targets)
        fitted = fit(network.to(pick_device(device)), examples, train, valid, self, seed, judge, bar)
        return fitted, predict(network, waves, part.test, samples, self.test_cut == "whole", self.batch_size)

    def _parts(self, task: Task, part: Round, seed: int) -> tuple[list[int], list[int]]:
        return training_and_validation(task, part, seed, self.valid_fraction)

    def _unit_samples(self, task: Task, model: BYOLA, waves: ClipWaves, train: list[int]) -> int:
        """The length of crops, enough for one frame of the encoder."""
        seconds = self.unit_seconds or task.unit_seconds
        samples = waves.typical_samples(train) if seconds is None else round(seconds * model.sample_rate)
        return max(samples, (model.encoder.min_frames - 1) * model.frontend.config.hop_length)


def judge_of(task: Task, targets: np.ndarray) -> Judge:
    """How good logits are: by the task's own metric, and the mean log-likelihood of `targets` (N, C) bool."""

    def judge(scores: np.ndarray, indices: list[int]) -> tuple[float, float]:
        wanted = targets[indices]
        truth = torch.from_numpy(wanted.astype(np.float32))
        loss = classification_loss(torch.from_numpy(scores), truth, task.multi_label)
        return validation_value(task, scores, wanted), -float(loss)

    return judge


def trainable(features: Features) -> ModelFeatures:
    """The features, if there is a network behind them that can be trained as a whole."""
    if not isinstance(features, ModelFeatures):
        raise UsageError(
            f"{features.name} cannot be fine-tuned: the protocol finetune trains a model folder, a hub id or "
            "random:<encoder>; choose another protocol for it"
        )
    if features.layer is not None:
        raise UsageError(
            f"the protocol finetune trains a model up to its clip embedding, not its layer {features.layer}; "
            "leave out the layer, or choose another protocol"
        )
    if features.samples is not None:
        raise UsageError(
            "the protocol finetune draws weights as it trains, and tests their means; leave out --samples, or choose "
            "another protocol"
        )
    return features


def _tested(
    rounds: list[Round], logits: list[list[np.ndarray]], waves: ClipWaves
) -> tuple[list[list[int]], list[list[np.ndarray]]]:
    """The test clips that can be used, of each round, and their logits for each seed and round."""
    tests = [waves.usable(part.test) for part in rounds]
    for part, test in zip(rounds, tests, strict=True):
        if not test:
            raise waves.too_few(part.test, "to test on")
    kept = [np.isin(part.test, test) for part, test in zip(rounds, tests, strict=True)]
    return tests, [[scores[rows] for scores, rows in zip(of_seed, kept, strict=True)] for of_seed in logits]
