"""The configuration of a pre-training run: one tree of dataclasses, each part owned by what it configures."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from byol_a.augment import AugmentConfig
from byol_a.data.selection import FilterConfig
from byol_a.errors import UsageError
from byol_a.frontend import FrontendConfig
from byol_a.kernels import Fast
from byol_a.methods import BYOLConfig, MethodConfig, method_class
from byol_a.training.optimizers import OptimizerConfig


@dataclass
class EncoderConfig:
    """Which encoder, and what its constructor takes beside the number of mel bins."""

    name: str = "AudioNTT2022"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class DataConfig:
    """Random crops: their length in seconds, where shorter clips are zero-padded, and which clips they come from.

    `workers` reads files beside the training process; `auto` takes one for each core but one, at most 8.
    `sampling`: an epoch draws each clip once (`file`), or as many crops as there are clips, each clip's share in
    proportion to its length (`duration`) or to its labels' rarity (`labels`: AudioSet's 1000 / (n + 0.01), summed over
    a clip's labels, from the CSVs in `labels`). `root` is where the data lie now, if they were moved since they were
    scanned or packed.
    """

    crop_seconds: float = 0.95
    pad: Literal["both", "end"] = "end"
    workers: int | Literal["auto"] = "auto"
    sampling: Literal["file", "duration", "labels"] = "file"
    labels: list[str] = field(default_factory=list)
    filter: FilterConfig = field(default_factory=FilterConfig)
    root: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.crop_seconds < math.inf:
            raise UsageError(f"data.crop_seconds must be positive, not {self.crop_seconds}")
        if self.workers != "auto" and self.workers < 0:
            raise UsageError(f"data.workers must be 'auto' or at least 0, not {self.workers}")
        if self.root is not None:  # a resumed run may be somewhere else
            self.root = str(Path(self.root).absolute())
        if (self.sampling == "labels") != bool(self.labels):
            raise UsageError("data.sampling=labels goes with data.labels, the CSVs that hold the clips' labels")


@dataclass
class NormalizationConfig:
    """Pre-normalisation of log-mels.

    `dataset`: one mean and one std from `crops` random training crops before the first step.
    `running`: the same two numbers, gathered from the first `crops` training clips as they pass.
    """

    kind: Literal["dataset", "running"] = "dataset"
    crops: int = 10_000

    def __post_init__(self) -> None:
        if not 1 <= self.crops <= 10_000:
            raise UsageError(f"normalization.crops must lie in 1 to 10000, not {self.crops}")


@dataclass
class TrainingConfig:
    """How long, how large and how precisely.

    `batch_size` counts the clips of one optimiser step over all processes and accumulated parts. What compares clips
    with each other (batch norm; the losses `ccsl` and `cssl`, uniformity) sees those of one accumulated part.
    `steps` wins over `epochs` where it is given. `precision` auto is bf16 where the hardware multiplies it,
    float32 elsewhere. `fast`: whether the device's own kernels are used, and on a GPU whether steps are recorded
    as CUDA graphs (`docs/speed.md`); `auto` takes the plain path where there are no kernels, `on` does not. Steps that
    cannot be recorded are taken plainly with either. `sync_batch_norm`: batch norm and the views' post-normalisation
    take the statistics of all processes' clips together, where each process would take those of its own. `log_every`,
    `checkpoint_every` and `keep_every` count steps; `keep_every` 0 keeps the last checkpoint alone.
    """

    seed: int = 42
    batch_size: int = 256
    accumulate: int = 1
    epochs: int = 100
    steps: int | None = None
    precision: Literal["auto", "float32", "bf16"] = "auto"
    channels_last: bool = True
    compile: bool = False
    fast: Fast | bool = "auto"  # the words "on" and "off" are truth values in YAML
    sync_batch_norm: bool = False
    log_every: int = 10
    checkpoint_every: int = 500
    keep_every: int = 0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.fast, bool):
            self.fast = "on" if self.fast else "off"
        for name in ("batch_size", "accumulate", "epochs", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"training.{name} must be at least 1, not {getattr(self, name)}")
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"training.steps must be at least 1, not {self.steps}")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"training.seed must lie in 0 to 2^63 - 1, not {self.seed}")
        if self.keep_every < 0:
            raise UsageError(f"training.keep_every must be at least 0, not {self.keep_every}")
        if self.batch_size // self.accumulate < 2:
            raise UsageError(
                "training.batch_size must leave at least 2 clips for each accumulated part (batch norm needs two)"
            )


@dataclass
class PretrainConfig:
    """A whole run; its fields are the sections of a recipe."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    method: MethodConfig = field(default_factory=BYOLConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    normalization: NormalizationConfig = field(default_factory=NormalizationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        asked = method_class(self.method.name).encoder_options(self.method)
        if self.encoder.options.get("variational") and not asked.get("variational"):
            raise UsageError(
                "encoder.options.variational goes with a method that learns the weights' deviations, such as "
                f"method=byov, not with {self.method.name}"
            )

    @property
    def crop_samples(self) -> int:
        """Samples in one crop (15,200 for 0.95 s at 16 kHz)."""
        return round(self.data.crop_seconds * self.frontend.sample_rate)

    @property
    def encoder_options(self) -> dict[str, Any]:
        """The encoder's options: the recipe's, and those that the method asks for."""
        return {**self.encoder.options, **method_class(self.method.name).encoder_options(self.method)}
