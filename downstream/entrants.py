"""From names on the command line to embeddings: a model, random weights, log-mel statistics, somebody's encoder."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from byol_a import model_folder
from byol_a.errors import UsageError
from downstream.features import (
    CustomFeatures,
    EmbeddingCache,
    Features,
    Layer,
    LogMelStatistics,
    ModelFeatures,
    Pooling,
    is_custom,
)
from downstream.tasks.base import PARTS, Clip

if TYPE_CHECKING:
    from byol_a import BYOLA
    from byol_a.kernels import Fast

RANDOM, LOGMEL = "random:", "logmel"


@dataclass(frozen=True)
class Entrant:
    """An embedding to be scored.

    Attributes:
        control: what kind of control it is, asked for by name or put beside a model; None for what is no control.
        weight_seed: of random weights.
    """

    title: str
    features: Features
    control: Literal["random", "logmel"] | None = None
    weight_seed: int | None = None


@dataclass(frozen=True)
class Controls:
    """Which controls are put beside a model, and how random ones are drawn.

    Attributes:
        random_seeds: random networks to draw; one if None.
    """

    random: bool = False
    logmel: bool = False
    random_seeds: int | None = None

    def beside(self, name: str, models: Sequence[str]) -> Controls:
        """Those that make sense for `name`, one of several models; of a single one all, sensible or not."""
        if len(models) == 1:
            return self
        random = self.random and name != LOGMEL and not name.startswith(RANDOM) and not _is_own(name)
        drawn = random or name.startswith(RANDOM)
        return Controls(random, self.logmel and name != LOGMEL, self.random_seeds if drawn else None)


@dataclass(frozen=True)
class _Reading:
    """How the embeddings of a network are read out; the same for a model and the random controls beside it."""

    batch_size: int
    device: str | None
    pooling: Pooling
    layer: Layer
    samples: int | None = None
    fast: Fast = "auto"

    def features(self, name: str, model: BYOLA) -> ModelFeatures:
        (model if self.device is None else model.to(self.device)).use_fast(self.fast)
        return ModelFeatures(name, model, self.batch_size, self.device, self.pooling, self.layer, self.samples)

    def title(self, name: str) -> str:
        """The name, with what is not usual about the reading."""
        pooling = [] if self.pooling == "model" else [f"{self.pooling} pooling"]
        layer = [] if self.layer is None else ["all layers" if self.layer == "all" else f"layer {self.layer}"]
        samples = [] if self.samples is None else [f"mean of {self.samples} weight samples"]
        return ", ".join([name, *layer, *pooling, *samples])


def entrants_for(
    name: str,
    controls: Controls,
    clips: Sequence[Clip],
    batch_size: int,
    device: str | None,
    pooling: Pooling = "model",
    layer: Layer = None,
    cache: EmbeddingCache | None = None,
    samples: int | None = None,
    fast: Fast = "auto",
) -> list[Entrant]:
    """The embeddings that `name` asks for, the model itself first.

    Args:
        name: a model folder; a hub id; `"logmel"`; `"random:<encoder>"`, random weights behind the default front-end,
            normalised by the task's own audio; or `"module:function"`, see `CustomFeatures`.
        clips: the task's, for those statistics: of all clips but those of the part `"test"`; where there are folds,
            each of which is tested on, of all. Their labels play no part.
        pooling, layer, samples: what to take of a network, see `ModelFeatures`.
        cache: keeps those statistics.
        fast: whether kernels are used, see `BYOLA.use_fast`.

    Raises:
        UsageError: if there is no such model, or a control, pooling, layer or samples make no sense for it.
    """
    custom = _is_own(name)
    _refuse_idle_options(name, custom, controls, pooling, layer, samples)
    if name == LOGMEL:
        return [_logmel_statistics(None)]
    reading = _Reading(batch_size, device, pooling, layer, samples, fast)
    if custom:
        own = CustomFeatures(name, batch_size, device, pooling)
        found = [Entrant(reading.title(own.name), own)]
        return [*found, _logmel_statistics(None)] if controls.logmel else found
    draws = controls.random_seeds or 1
    if name.startswith(RANDOM):
        model = _untrained(name.removeprefix(RANDOM), clips, cache or EmbeddingCache(None))
        found = _random_draws(reading.title(name), model, draws, reading)
    else:
        from byol_a import BYOLA

        model = BYOLA.from_pretrained(name)
        found = [Entrant(reading.title(name), reading.features(name, model))]
        if controls.random:
            found += _random_draws(reading.title("random weights"), model, draws, reading)
    if controls.logmel:
        found.append(_logmel_statistics(model))
    return found


def check_name(
    name: str,
    controls: Controls | None = None,
    pooling: Pooling = "model",
    layer: Layer = None,
    samples: int | None = None,
) -> None:
    """What `entrants_for` can tell without torch: whether `name` may be a model, and goes with what is asked of it.

    Raises:
        UsageError, ByolaError: as `entrants_for`.
    """
    custom = _is_own(name)
    _refuse_idle_options(name, custom, controls or Controls(), pooling, layer, samples)
    if not (custom or name == LOGMEL or name.startswith(RANDOM)):
        model_folder.check_model(name)


def check_model(name: str) -> None:
    """See that `name` is a model at all, without a task's clips.

    Raises:
        UsageError, ByolaError: as `entrants_for`.
    """
    from byol_a import BYOLA, FrontendConfig, NormStats

    if name.startswith(RANDOM):
        BYOLA(name.removeprefix(RANDOM), {}, FrontendConfig(), NormStats(0.0, 1.0))
    elif _is_own(name):
        CustomFeatures(name)
    elif name != LOGMEL:
        BYOLA.from_pretrained(name)


def _is_own(name: str) -> bool:
    """Whether `name` is a `module:function` of the user's."""
    return is_custom(name) and not name.startswith(RANDOM) and not Path(name).exists()


def _refuse_idle_options(
    name: str, custom: bool, controls: Controls, pooling: str, layer: Layer, samples: int | None
) -> None:
    """Raise a `UsageError` for an option that would change nothing, or means nothing, beside `name`."""
    is_random = name.startswith(RANDOM)
    if samples is not None and (is_random or custom or name == LOGMEL):
        raise UsageError(f"{name} has no variational weights to draw samples of; leave out --samples")
    if name == LOGMEL and controls.random:
        raise UsageError("logmel has no weights, so there is no --random-control for it")
    if name == LOGMEL and controls.logmel:
        raise UsageError("logmel is what --logmel-control would add; leave out --logmel-control")
    if name == LOGMEL and (pooling != "model" or layer is not None):
        raise UsageError("logmel has no layers and pools in its own way; leave out --pooling and --layer")
    if custom and controls.random:
        raise UsageError(
            f"of {name} no weights can be drawn at random, so there is no --random-control for it; name a function "
            f"that returns it untrained"
        )
    if custom and layer is not None:
        raise UsageError(f"{name} chooses its layers itself; leave out --layer")
    if is_random and controls.random:
        raise UsageError(f"{name} has random weights already; leave out --random-control (--random-seeds draws more)")
    if controls.random_seeds is not None and not (is_random or controls.random):
        raise UsageError("--random-seeds counts random networks, and none is asked for; add --random-control")


def _untrained(encoder: str, clips: Sequence[Clip], cache: EmbeddingCache) -> BYOLA:
    from byol_a import BYOLA, FrontendConfig, LogMel, NormStats
    from downstream.features.rows import ClipRows
    from downstream.features.source import log_mel_statistics

    # Built before the audio is read, so that a wrong name is said at once.
    model = BYOLA(encoder, {}, FrontendConfig(), NormStats(0.0, 1.0))
    stats = log_mel_statistics(ClipRows(clips, cache), LogMel(FrontendConfig()), _not_tested_on(clips))
    return model.with_normalization(NormStats(*stats))


def _not_tested_on(clips: Sequence[Clip]) -> np.ndarray:
    """The indices of the clips outside the test part; where there are folds instead of parts, of all."""
    has_parts = all(clip.part in PARTS for clip in clips)
    return np.asarray([i for i, clip in enumerate(clips) if not (has_parts and clip.part == "test")], dtype=int)


def _random_draws(title: str, model: BYOLA, seeds: int, reading: _Reading) -> list[Entrant]:
    name = RANDOM + model.encoder_name + _described_options(model)
    return [
        Entrant(title, reading.features(name, model.with_random_weights(seed)), control="random", weight_seed=seed)
        for seed in range(seeds)
    ]


def _described_options(model: BYOLA) -> str:
    """The encoder's options that are not its defaults, as `(embedding_dim=2048)`."""
    from byol_a.encoders import ENCODERS, create_encoder

    takers: list[Callable[..., Any]] = [create_encoder]
    takers += [ENCODERS[model.encoder_name]] if model.encoder_name in ENCODERS else []
    defaults = {key: option.default for taker in takers for key, option in inspect.signature(taker).parameters.items()}
    chosen = {key: value for key, value in model.encoder_options.items() if defaults.get(key) != value}
    return f"({', '.join(f'{key}={value}' for key, value in sorted(chosen.items()))})" if chosen else ""


def _logmel_statistics(model: BYOLA | None) -> Entrant:
    from byol_a import FrontendConfig, LogMel

    # A copy with the model's settings: the model's own may be on a GPU by now.
    config = FrontendConfig() if model is None else model.frontend.config
    return Entrant("log-mel statistics", LogMelStatistics(LogMel(config)), control="logmel")
