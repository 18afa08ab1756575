"""Who takes part in a comparison: recipes and variants of them under one budget, and untrained networks beside them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from byol_a.config import apply_overrides, build, to_dict
from byol_a.encoders import NormConfig
from byol_a.errors import UsageError
from byol_a.methods.byol import BYOLConfig
from byol_a.recipes import read_recipe
from byol_a.training.config import PretrainConfig
from downstream.tables import file_stem

RANDOM = "random weights"
# What recipes may give any keys: the options of an encoder depend on the encoder.
_FREE = "encoder.options."


@dataclass(frozen=True)
class Contestant:
    """One row of a comparison.

    Attributes:
        label: what it is called, the argument that asked for it.
        recipe: the recipe's name or file.
        config: of its runs, but for their seeds.
        control: whether it is not trained: the networks that its runs would begin with.
    """

    label: str
    recipe: str
    config: PretrainConfig
    control: bool = False

    @property
    def folder(self) -> str:
        """The name of the folder that holds its runs; an untrained network's tells it from others by a digest."""
        if not self.control:
            return file_stem(self.label)
        digest = hashlib.blake2b(repr(self.untrained).encode(errors="surrogatepass"), digest_size=4).hexdigest()
        return file_stem(RANDOM, digest)

    @property
    def untrained(self) -> dict[str, Any]:
        """What scores and measures of the network before training depend on, but for its seed."""
        config = self.config
        values = to_dict(config)
        return {
            "encoder": {"name": config.encoder.name, "options": config.encoder_options},
            **{key: values[key] for key in ("frontend", "augment", "normalization")},
            "data": {key: value for key, value in values["data"].items() if key not in ("workers", "root")},
        }

    def run_config(self, seed: int) -> PretrainConfig:
        """The configuration of its run with a seed."""
        return replace(self.config, training=replace(self.config.training, seed=seed))

    @property
    def is_plain_byol(self) -> bool:
        """Whether it is BYOL with an MLP predictor and batch norms, and nothing else: what costs are relative to."""
        method, options = self.config.method, self.config.encoder_options
        return (
            isinstance(method, BYOLConfig)
            and method.name == "byol"
            and method.predictor.name == "mlp"
            and getattr(method.predictor, "norm", None) == method.projector.norm == NormConfig()
            and method.loss.name == "byol"
            and not any(asdict(method.regularizers).values())
            and options.get("norm", "batch") == "batch"
            and not options.get("weight_standardization")
            and not options.get("variational")
        )


def read_contestants(arguments: Sequence[str], overrides: Sequence[str], clips: int | None) -> list[Contestant]:
    """The recipes that arguments name.

    Args:
        arguments: each a recipe's name, a YAML file, or `RECIPE:KEY=VALUE,KEY=VALUE` for a variant.
        overrides: `KEY=VALUE` for all recipes that have the key; what a variant says of itself wins.
        clips: how many clips each sees; the recipe's own length if None.

    Raises:
        UsageError: for an unknown recipe, a key that no recipe has, a wrong value, or two labels that look alike.
    """
    arguments = list(dict.fromkeys(arguments))
    parts = [_split(argument) for argument in arguments]
    bases = {name: _base(name) for name, _ in parts}
    _refuse_unknown(bases, overrides)
    found = [_contestant(name, own, bases[name], overrides, clips) for name, own in parts]
    places: dict[str, str] = {file_stem(RANDOM): RANDOM}
    for argument, contestant in zip(arguments, found, strict=True):
        if contestant.folder in places:
            raise UsageError(
                f"{places[contestant.folder]} and {argument} would share the folder {contestant.folder}; give one of "
                "them another name, as a recipe file of its own"
            )
        places[contestant.folder] = argument
    return found


def controls_for(contestants: Sequence[Contestant]) -> list[Contestant]:
    """An untrained network for each encoder there is, that of the first contestant in front."""
    firsts: dict[str, Contestant] = {}
    for contestant in contestants:
        config = contestant.config
        firsts.setdefault(repr((config.encoder, config.frontend)), contestant)
    several = len({contestant.label for contestant in firsts.values()}) > 1
    return [
        replace(
            contestant,
            label=f"{RANDOM}: {contestant.label}" if several else RANDOM,
            # Nothing has passed that running statistics could be of.
            config=replace(contestant.config, normalization=replace(contestant.config.normalization, kind="dataset")),
            control=True,
        )
        for contestant in firsts.values()
    ]


def choose_baseline(contestants: Sequence[Contestant], label: str | None) -> Contestant:
    """The one called `label`; without, the first that is plain BYOL, else the first.

    Raises:
        UsageError: if none is called that.
    """
    if label is None:
        return next((each for each in contestants if each.is_plain_byol), contestants[0])
    for contestant in contestants:
        if contestant.label == label:
            return contestant
    names = ", ".join(each.label for each in contestants)
    raise UsageError(f"--baseline {label} is none of the recipes compared ({names})")


def reference_of(contestant: Contestant, contestants: Sequence[Contestant], baseline: Contestant) -> Contestant:
    """Whose step a contestant's is compared with: the baseline, or the like of it that has the same batch size.

    Alike are plain BYOL with the same encoder, front-end, crops, method and optimiser but for its learning rate.
    """
    size = contestant.config.training.batch_size
    alike = [each for each in contestants if each.is_plain_byol and _step_of(each) == _step_of(baseline)]
    candidates = [baseline, *(each for each in alike if baseline.is_plain_byol and each is not contestant)]
    return next((each for each in candidates if each.config.training.batch_size == size), baseline)


def _step_of(contestant: Contestant) -> tuple[Any, ...]:
    """What a step's cost depends on, but for the batch size."""
    config = contestant.config
    # Neither the rate nor its course: a warm-up in epochs is of other steps with another batch size.
    optimizer = replace(config.optimizer, lr=1.0, warmup_steps=None, warmup_epochs=0.0)
    return config.encoder, config.frontend, config.crop_samples, config.method, optimizer


def _split(argument: str) -> tuple[str, list[str]]:
    """A recipe, and the overrides of a variant."""
    if Path(argument).is_file():
        return argument, []
    name, colon, changes = argument.partition(":")
    # A comma within a value is not followed by another KEY=.
    own = re.split(r",(?=[A-Za-z_][\w.]*=)", changes) if colon else []
    if colon and not changes:
        raise UsageError(f"{argument} is no variant; write RECIPE:KEY=VALUE,KEY=VALUE")
    return name, own


def _base(name: str) -> PretrainConfig:
    return build(PretrainConfig, read_recipe("pretrain", name), f"recipe {name}")


def _refuse_unknown(bases: dict[str, PretrainConfig], overrides: Sequence[str]) -> None:
    """See that each override is for one recipe at least; that one says what is wrong where it is not."""
    for override in overrides:
        if not any(_has(to_dict(config), override) for config in bases.values()):
            name, config = next(iter(bases.items()))
            build(PretrainConfig, apply_overrides(to_dict(config), [override]), f"recipe {name}")


def _has(values: dict[str, Any], override: str) -> bool:
    key = override.partition("=")[0]
    if key.startswith(_FREE):
        return True
    node: Any = values
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True


def _contestant(
    name: str, own: Sequence[str], base: PretrainConfig, overrides: Sequence[str], clips: int | None
) -> Contestant:
    stem = Path(name).stem if name.endswith((".yaml", ".yml")) else name
    label = ":".join([stem, ",".join(own)]) if own else stem
    # From all of its keys, not the recipe's few: sections that a recipe gives as a bare word stay what they are.
    values = to_dict(base)
    values = apply_overrides(values, [override for override in overrides if _has(values, override)])
    config = build(PretrainConfig, apply_overrides(values, own), label)
    if clips is not None:
        steps = clips // config.training.batch_size
        if not steps:
            raise UsageError(
                f"--clips {clips} is less than one batch of {label}, which has {config.training.batch_size} clips"
            )
        config = replace(config, training=replace(config.training, steps=steps))
    return Contestant(label, name, config)
