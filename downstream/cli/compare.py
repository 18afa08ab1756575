"""The command `byol-a compare`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from downstream.cli.options import FOLDER, say


@click.command(short_help="Train and score recipes under one budget.")
@click.argument("recipes", metavar="RECIPE... [KEY=VALUE ...]", nargs=-1, required=True)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="What to learn from: audio files and folders, an index, or a store; may be repeated.",
)
@click.option("--tasks", multiple=True, metavar="NAME [NAME ...]", help="What to score on. [default: every set found]")
@click.option(
    "--task-data", type=FOLDER, multiple=True, help="A folder below which labelled sets are. [default: --data]"
)
@click.option("--seeds", type=click.IntRange(1), default=2, show_default=True, help="Runs of each recipe.")
@click.option("--out", type=FOLDER, required=True, help="Where runs and results are kept, and continued from.")
@click.option("--clips", type=click.IntRange(1), help="Clips that each recipe sees. [default: the recipe's length]")
@click.option(
    "--baseline", metavar="RECIPE", help="What costs are relative to. [default: plain BYOL among the recipes]"
)
@click.option("--keep-checkpoints", is_flag=True, help="Keep what a run could be continued from; models stay anyway.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
def compare(
    recipes: tuple[str, ...],
    data: tuple[Path, ...],
    tasks: tuple[str, ...],
    task_data: tuple[Path, ...],
    seeds: int,
    out: Path,
    clips: int | None,
    baseline: str | None,
    keep_checkpoints: bool,
    device: str,
) -> None:
    """Train each RECIPE with the same number of clips and several seeds, and score all of them on labelled sets.

    RECIPE is a name, a YAML file, or a variant RECIPE:KEY=VALUE,KEY=VALUE. A KEY=VALUE by itself holds for every
    recipe that has the key. The networks before training are scored as well. Folders are packed into OUT once; a tenth
    of the clips, at most 512, is held out to measure collapse, rank, alignment and uniformity on. The command can be
    stopped and repeated; recipes, seeds and tasks can be added. Its reports hold those that it names.

    \b
    byol-a compare byola_v2 tribyol stiefel --data sounds/ --clips 100000 --out comparison
    byol-a compare byola_v2 byola_v2:method.tau=0.999 --data sounds/ --out tau training.batch_size=64
    """
    from byol_a.errors import ByolaError, UsageError
    from byol_a.recipes import read_recipe

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("a comparison runs in one process; start it without torchrun")
    if missing := [path for path in data if not path.exists()]:
        raise UsageError(f"--data {missing[0]} does not exist; give audio files, folders, an index or a store")
    names, further, overrides = _sorted_out(recipes, bool(tasks))
    if not names:
        raise UsageError("no recipe is named; give two or more of `byol-a recipes`")
    chosen = [part for text in (*tasks, *further) for part in text.split(",")]
    roots = list(task_data) or [path for path in data if path.is_dir()]
    if not roots:
        raise UsageError("say below which folder the labelled sets are: --task-data FOLDER")
    for name in names:
        read_recipe("pretrain", name if Path(name).is_file() else name.partition(":")[0])
    # Only now, as this imports torch, which takes a second.
    from byol_a.allocator import keep_freed_memory
    from byol_a.device import pick_device
    from downstream.compare import Comparison, load_tasks, read_contestants, run_comparison
    from downstream.compare.report import CSV, JSON, MARKDOWN, PICTURE, printed

    contestants = read_contestants(names, overrides, clips)
    chosen_device = pick_device(device)
    if chosen_device.type == "cpu":
        keep_freed_memory()
    asked = Comparison(
        contestants=contestants,
        data=data,
        tasks=load_tasks(chosen, roots, say),
        seeds=range(seeds),
        out=out,
        clips=clips,
        baseline=baseline,
        device=chosen_device,
        keep_checkpoints=keep_checkpoints,
    )
    rows, budget = run_comparison(asked, say)
    click.echo(printed(rows, budget))
    say(f"wrote {', '.join(str(out / name) for name in (MARKDOWN, CSV, JSON, PICTURE))}")
    if not any(row.has_worked for row in rows if not row.contestant.control):
        raise ByolaError(f"no recipe gave a model; of {rows[0].contestant.label}: {rows[0].note}")


def _sorted_out(arguments: Sequence[str], has_tasks: bool) -> tuple[list[str], list[str], list[str]]:
    """Arguments as recipes, tasks (`--tasks A B` leaves B among them) and overrides."""
    import difflib

    from byol_a.errors import UsageError
    from byol_a.recipes import list_recipes

    recipes, tasks, overrides = [], [], []
    known, trained = list_recipes("evaluate"), list_recipes("pretrain")
    for argument in arguments:
        head, equals, _ = argument.partition("=")
        is_plain = not any(mark in argument for mark in (":", "/", ".yaml", ".yml"))
        if equals and ":" not in head and not Path(argument).exists():
            overrides.append(argument)
        elif argument in known:
            tasks.append(argument)
        elif has_tasks and is_plain and argument not in trained:
            recipe, task = (difflib.get_close_matches(argument, names, 1, cutoff=0.0)[0] for names in (trained, known))
            raise UsageError(
                f"{argument} is neither a recipe nor a task; the nearest are the recipe {recipe} and the task {task}"
            )
        else:
            recipes.append(argument)
    return recipes, tasks, overrides
