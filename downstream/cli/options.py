"""Options that `evaluate` and `benchmark` share, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from byol_a.pooling import POOLINGS

if TYPE_CHECKING:
    from downstream.features import EmbeddingCache
    from downstream.protocols import EvaluationProtocol

PROTOCOL_NAMES = ("default", "evar", "hear", "finetune", "few-shot", "label-fraction")
FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)

Command = TypeVar("Command", bound=Callable[..., Any])


def scoring_options(command: Command) -> Command:
    """Protocols, controls, embeddings and where they run: the options after a command's own."""
    options = [
        click.option(
            "--protocol",
            "protocols",
            type=click.Choice(PROTOCOL_NAMES),
            multiple=True,
            default=["default"],
            show_default=True,
            help="How to score; may be given several times.",
        ),
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            help="Change a setting of the protocols, as lr=1e-3, or of one, as evar.lr=1e-3; may be repeated.",
        ),
        click.option("--seeds", type=click.IntRange(1), help="How many seeds, where anything is random. [default: 3]"),
        click.option("--random-control", is_flag=True, help="Also score the same network with fresh random weights."),
        click.option("--random-seeds", type=click.IntRange(1), help="Random networks to draw. [default: 1]"),
        click.option("--logmel-control", is_flag=True, help="Also score mean, max and std over time of the log-mels."),
        click.option(
            "--pooling",
            type=click.Choice(POOLINGS),
            default="model",
            show_default=True,
            help="How frames become a clip's embedding: the model's own way, or another.",
        ),
        click.option("--layer", help="A layer's number, from 0, or all (side by side). [default: the last]"),
        click.option("--cache", type=FOLDER, help="Where to keep embeddings. [default: byol-a in the user's cache]"),
        click.option("--no-cache", is_flag=True, help="Neither look for kept embeddings nor keep any."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
        click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Clips in one pass."),
        click.option(
            "--fast",
            type=click.Choice(["auto", "on", "off"]),
            default="auto",
            show_default=True,
            help="Whether clips are embedded by the device's own kernels: auto, where there are some.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def parse_layer(text: str | None) -> Any:
    """`--layer` as a number, "all", or None where none is given."""
    from byol_a.errors import UsageError

    if text is None or text == "all":
        return text
    if not text.isdecimal():
        raise UsageError(f"--layer {text} is neither a number from 0 nor all")
    return int(text)


def chosen_protocols(
    names: Sequence[str],
    settings: Sequence[str],
    seeds: int | None,
    of_task: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[EvaluationProtocol]:
    """The protocols with the task's own settings, and over those the user's.

    Args:
        settings: `KEY=VALUE` for every protocol that has it, `PROTOCOL.KEY=VALUE` for that one.
        seeds: how many, for the protocols that have any.
        of_task: the task's settings, by the protocol's name.

    Raises:
        UsageError: for a setting that none of the protocols has, or a value that it does not take.
    """
    from byol_a.config import apply_overrides
    from byol_a.errors import UsageError
    from downstream.protocols import make_protocol

    names = list(dict.fromkeys(names))
    usual = {name: make_protocol(name) for name in names}
    own: dict[str, dict[str, Any]] = {name: dict((of_task or {}).get(name, {})) for name in names}
    if seeds is not None:
        counted = [name for name in names if hasattr(usual[name], "seeds")]
        if not counted:
            raise UsageError(f"{' and '.join(names)} have no seeds to count; leave out --seeds")
        for name in counted:
            first = usual[name].seeds[0]  # type: ignore[attr-defined]
            own[name]["seeds"] = list(range(first, first + seeds))
    for setting in settings:
        owner, dot, rest = setting.partition(".")
        if dot and owner in PROTOCOL_NAMES:
            if owner not in names:
                raise UsageError(f"--set {setting} is for a protocol that is not asked for; add --protocol {owner}")
            meant, setting = [owner], rest
        else:
            key = setting.partition("=")[0]
            meant = [name for name in names if hasattr(usual[name], key)] or names  # or let one say it is unknown
        for name in meant:
            own[name] = apply_overrides(own[name], [setting])
    return [make_protocol(name, own[name]) for name in names]


def embedding_cache(folder: Path | None, no_cache: bool) -> EmbeddingCache:
    """What `--cache` and `--no-cache` ask for."""
    from downstream.features import EmbeddingCache, default_cache_folder

    return EmbeddingCache(None if no_cache else folder or default_cache_folder())


def say(line: str) -> None:
    """Tell the user how things go, on standard error."""
    from byol_a.words import printable

    click.echo(printable(line), err=True)
