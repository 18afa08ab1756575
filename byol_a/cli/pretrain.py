"""`byol-a pretrain`: a recipe, folders of audio or the synthesiser, and a run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from byol_a.training.config import PretrainConfig
    from byol_a.training.job import Job

# What may change when a run is continued: nothing that would make the state in the checkpoint another run's.
RESUMABLE = (
    "training.epochs",
    "training.steps",
    "training.precision",
    "training.compile",
    "training.fast",
    "training.log_every",
    "training.checkpoint_every",
    "training.keep_every",
    "training.tensorboard",
    "optimizer.lr",
    "optimizer.schedule",
    "optimizer.clip_norm",
    "data.workers",
    "data.root",
)


@click.command(short_help="Pre-train an encoder on unlabelled audio.")
@click.option("--recipe", help="Name of a recipe (see `byol-a recipes`) or a YAML file.  [default: byola_v2]")
@click.option(
    "--data",
    multiple=True,
    metavar="DIR [DIR ...]",
    help="Audio files and folders, an index, a store, or the word synth.",
)
@click.option("--out", type=click.Path(), help="Folder of the run; must not exist, unless with --resume.")
@click.option("--steps", type=int, help="Optimiser steps in all.")
@click.option("--epochs", type=int, help="Passes over the data in all.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--resume", is_flag=True, help="Continue the run in --out from its last checkpoint.")
@click.option(
    "--auto-resume",
    is_flag=True,
    help="Continue the run in --out if it has begun, begin it if not: for schedulers that repeat a command.",
)
@click.option("--print-config", is_flag=True, help="Show the resolved configuration as YAML and stop.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE ...]")
def pretrain(
    recipe: str | None,
    data: tuple[str, ...],
    out: str | None,
    steps: int | None,
    epochs: int | None,
    device: str,
    resume: bool,
    auto_resume: bool,
    print_config: bool,
    overrides: tuple[str, ...],
) -> None:
    """Pre-train an encoder with BYOL on unlabelled audio, and export it as a model folder.

    Settings come from the recipe; KEY=VALUE changes one of them, for example training.batch_size=128 or
    augment.fader=null. `byol-a pretrain --print-config` shows all of them.

    \b
    byol-a pretrain --recipe byola_v2 --data recordings/ --out runs/first --epochs 50
    byol-a pretrain --recipe byola_v1 --data synth --out runs/synth --steps 2000
    byol-a pretrain --resume --out runs/first
    torchrun --nproc-per-node 8 -m byol_a pretrain --data audioset/ --out runs/big
    """
    # Of a connection that breaks, which is told in one sentence, torch's C++ side would print a page.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from byol_a.training.job import together

    with together() as job:
        _pretrain(job, recipe, data, out, steps, epochs, device, resume, auto_resume, print_config, overrides)


def _pretrain(
    job: Job,
    recipe: str | None,
    data: tuple[str, ...],
    out: str | None,
    steps: int | None,
    epochs: int | None,
    device: str,
    resume: bool,
    auto_resume: bool,
    print_config: bool,
    overrides: tuple[str, ...],
) -> None:
    from byol_a.errors import UsageError

    # `--data A B` leaves B among the arguments: whatever exists, or is not KEY=VALUE, is data.
    changes = [argument for argument in overrides if "=" in argument and not Path(argument).exists()]
    data += tuple(argument for argument in overrides if argument not in changes)
    if steps is not None:
        changes.append(f"training.steps={steps}")
    if epochs is not None:
        # Asking for epochs means that the recipe's number of steps, if it has one, no longer counts.
        changes += [f"training.epochs={epochs}"] + ([] if steps is not None else ["training.steps=null"])
    if resume:
        if out is None:
            raise UsageError("--resume needs --out, the folder of the run to continue")
        if recipe is not None or data:
            raise UsageError("--resume continues with the run's own recipe and data; leave out --recipe and --data")
        config = _resumed_config(out, changes)
    elif out is not None and job.decide("goes on", lambda: _has_begun(job, out, auto_resume)):
        resume = True
        config = _continued_config(out, changes, say=job.rank == 0)
    else:
        values = _recipe_values(recipe or "byola_v2", changes)
        if not print_config:
            _check_places(job, data, out)
        config = _built(values, f"recipe {recipe or 'byola_v2'}")
    if print_config:
        from byol_a.config import to_yaml

        click.echo(to_yaml(config), nl=False)
        return
    assert out is not None  # `_check_places` has seen to it
    from byol_a.allocator import keep_freed_memory
    from byol_a.device import pick_device
    from byol_a.training import pretrain as training

    if pick_device(device).type == "cpu":
        keep_freed_memory()
    if resume:
        training.resume(config, out, device)
    else:
        training.pretrain(config, data, out, device, recipe or "byola_v2")


def _check_places(job: Job, data: tuple[str, ...], out: str | None) -> None:
    """What can be told of a new run before torch is imported, which takes a second: that its places can be."""
    from byol_a.data.files import refuse_unlearnable
    from byol_a.errors import UsageError
    from byol_a.training.run_folder import RunFolder

    if out is None:
        raise UsageError("where should the run be written? give --out RUN")
    if not data:
        raise UsageError("what should be learned from? give --data DIR, or --data synth for synthesised sound")
    if job.world_size == 1:  # of several processes the main one alone need see the data
        RunFolder(out).refuse_existing()
        refuse_unlearnable(data)


def _recipe_values(recipe: str, changes: list[str]) -> dict[str, Any]:
    from byol_a.config import apply_overrides
    from byol_a.recipes import read_recipe

    return apply_overrides(read_recipe("pretrain", recipe), changes)


def _built(values: Mapping[str, Any], source: str) -> PretrainConfig:
    """Values as a checked configuration; this is what imports torch, which its parts configure."""
    from byol_a.config import build
    from byol_a.training.config import PretrainConfig

    return build(PretrainConfig, values, source)


def _has_begun(job: Job, out: str, auto_resume: bool) -> bool:
    """Whether this command line goes on with the run in `out`: as asked, or for an earlier start of the same job."""
    from byol_a.training.run_folder import RunFolder

    return RunFolder(out).config_file.is_file() and (auto_resume or job.remembers_run(Path(out)))


def _resumed_config(out: str, changes: list[str]) -> PretrainConfig:
    from byol_a.errors import UsageError

    config, refused = _changed_config(out, changes)
    if refused:
        raise UsageError(
            f"{refused[0]} cannot change in the middle of a run (only {', '.join(RESUMABLE)} can); "
            "start a new run with another --out"
        )
    return config


def _continued_config(out: str, changes: list[str], say: bool) -> PretrainConfig:
    """The run's own settings, with those changes of the repeated command line that a run can take."""
    config, refused = _changed_config(out, changes)
    if refused:
        config, _ = _changed_config(out, [change for change in changes if change.partition("=")[0] in RESUMABLE])
        if say:
            click.echo(f"the run in {out} goes on with its own {', '.join(refused)}", err=True)
    return config


def _changed_config(out: str, changes: list[str]) -> tuple[PretrainConfig, list[str]]:
    """The settings of the run in `out` with `changes`, and the keys among these that make it another run."""
    from byol_a.config import apply_overrides, differences, to_dict
    from byol_a.training.run_folder import RunFolder

    before = to_dict(RunFolder(out).config())
    config = _built(apply_overrides(before, changes), out)
    return config, [key for key, _, _ in differences(before, to_dict(config)) if key not in RESUMABLE]
