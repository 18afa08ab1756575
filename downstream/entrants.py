"""From names on the command line to embeddings: a model, random weights, log-mel statistics."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from byol_a.errors import UsageError
from downstream.evaluate import Entrant
from downstream.features import LogMelStatistics, ModelFeatures, statistics_of

if TYPE_CHECKING:
    from byol_a import BYOLA

RANDOM = "random:"


@dataclass(frozen=True)
class Controls:
    """Which controls are put beside a model, and how random ones are drawn.

    Attributes:
        random_seeds: random networks to draw; one if None.
    """

    random: bool = False
    logmel: bool = False
    random_seeds: int | None = None


def entrants_for(
    name: str, controls: Controls, paths: Sequence[Path], batch_size: int, device: str | None
) -> list[Entrant]:
    """The embeddings that `name` asks for, the model itself first.

    Args:
        name: a model folder; a hub id; `"logmel"`; or `"random:<encoder>"`, random weights behind the
            default front-end, normalised by the task's own audio.
        paths: the task's clips, for those statistics; their labels play no part.

    Raises:
        UsageError: if there is no such model, or a control makes no sense beside it.
    """
    _refuse_idle_options(name, controls)
    if name == "logmel":
        return [_logmel_statistics(None)]
    draws = controls.random_seeds or 1
    if name.startswith(RANDOM):
        model = _untrained(name.removeprefix(RANDOM), paths)
        found = _random_draws(name, model, draws, batch_size, device)
    else:
        from byol_a import BYOLA

        model = BYOLA.from_pretrained(name)
        found = [Entrant(name, ModelFeatures(name, model, batch_size, device))]
        if controls.random:
            found += _random_draws("random weights", model, draws, batch_size, device)
    if controls.logmel:
        found.append(_logmel_statistics(model))
    return found


def _refuse_idle_options(name: str, controls: Controls) -> None:
    """Raise a `UsageError` for a control that would change nothing beside `name`."""
    is_random = name.startswith(RANDOM)
    if name == "logmel" and controls.random:
        raise UsageError("logmel has no weights, so there is no --random-control for it")
    if name == "logmel" and controls.logmel:
        raise UsageError("logmel is what --logmel-control would add; leave out --logmel-control")
    if is_random and controls.random:
        raise UsageError(f"{name} has random weights already; leave out --random-control (--random-seeds draws more)")
    if controls.random_seeds is not None and not (is_random or controls.random):
        raise UsageError("--random-seeds counts random networks, and none is asked for; add --random-control")


def _untrained(encoder: str, paths: Sequence[Path]) -> BYOLA:
    from byol_a import BYOLA, FrontendConfig, LogMel, NormStats

    # Built once before the audio is read, so that a wrong name is said at once.
    BYOLA(encoder, {}, FrontendConfig(), NormStats(0.0, 1.0))
    return BYOLA(encoder, {}, FrontendConfig(), statistics_of(LogMel(FrontendConfig()), paths))


def _random_draws(title: str, model: BYOLA, seeds: int, batch_size: int, device: str | None) -> list[Entrant]:
    name = RANDOM + model.encoder_name + _described_options(model)
    return [
        Entrant(
            title,
            ModelFeatures(name, model.with_random_weights(seed), batch_size, device),
            control="random",
            weight_seed=seed,
        )
        for seed in range(seeds)
    ]


def _described_options(model: BYOLA) -> str:
    """The encoder's options that are not its defaults, as `(embedding_dim=2048)`."""
    from byol_a.encoders import ENCODERS

    known = ENCODERS.get(model.encoder_name)
    defaults = {} if known is None else {key: o.default for key, o in inspect.signature(known).parameters.items()}
    chosen = {key: value for key, value in model.encoder_options.items() if defaults.get(key) != value}
    return f"({', '.join(f'{key}={value}' for key, value in sorted(chosen.items()))})" if chosen else ""


def _logmel_statistics(model: BYOLA | None) -> Entrant:
    from byol_a import FrontendConfig, LogMel

    # A copy with the model's settings: the model's own may be on a GPU by now.
    config = FrontendConfig() if model is None else model.frontend.config
    return Entrant("log-mel statistics", LogMelStatistics(LogMel(config)), control="logmel")
