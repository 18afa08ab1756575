"""The command `byol-a benchmark`."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from downstream.cli.options import FOLDER, say, scoring_options


@click.command("benchmark", short_help="Score models on every set there is.")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option(
    "--suite",
    default="all",
    show_default=True,
    help="all, environment, speech, music, evar, hear, or task names separated by commas.",
)
@click.option(
    "--data", "roots", type=FOLDER, multiple=True, help="A folder below which sets were unpacked; may be repeated."
)
@click.option("--at", "places", multiple=True, metavar="TASK=FOLDER", help="Where the set of one task is.")
@click.option("--split", "splits", multiple=True, metavar="TASK=PATH", help="Your own division of one task's set.")
@click.option("--out", type=FOLDER, help="Where results are kept, and continued from.")
@click.option("--jobs", type=click.IntRange(1), help="Tasks side by side. [default: one, or one a GPU]")
@click.option("--list", "only_list", is_flag=True, help="Say which sets are found and stop.")
@scoring_options
def benchmark(
    models: tuple[str, ...],
    suite: str,
    roots: tuple[Path, ...],
    places: tuple[str, ...],
    splits: tuple[str, ...],
    out: Path | None,
    jobs: int | None,
    only_list: bool,
    **how: Any,
) -> None:
    """Score MODELs on every task whose set is found, and write one report.

    Run it again to go on after an interruption, or to add models, sets and protocols: what is finished stays.
    MODEL is as in `byol-a evaluate`.
    """
    from byol_a.errors import ByolaError, UsageError
    from byol_a.words import counted
    from downstream.benchmark import Plan, run_benchmark
    from downstream.cli.options import chosen_protocols, embedding_cache, parse_layer
    from downstream.entrants import Controls, check_model, check_name
    from downstream.suites import find_tasks, suite_tasks

    at = _by_task("--at", places)
    if not roots and not at:
        raise UsageError("say below which folder the sets were unpacked (--data), or where each is (--at TASK=FOLDER)")
    search = find_tasks(suite_tasks(suite), roots, at)
    for task in search.found:
        click.echo(f"{task.name:14} {task.root}")
    for name, reason in search.missing.items():
        click.echo(f"{name:14} not scored: {reason}")
    for note in search.notes:
        say(f"note: {note}")
    if not search.found:
        raise ByolaError("no set was found, so there is nothing to score; `byol-a tasks` says what each looks like")
    if only_list:
        return
    if out is None:
        raise UsageError("say where the results go: --out FOLDER")
    asked = how["protocols"], how["settings"], how["seeds"]
    # What can be told before torch is imported, which takes a second, goes first.
    layer = parse_layer(how["layer"])
    for model in models:
        check_name(model)
    chosen_protocols(*asked)
    from byol_a.device import pick_device

    for model in models:
        check_model(model)
    plan = Plan(
        models=tuple(dict.fromkeys(models)),
        protocols_for=partial(chosen_protocols, *asked),
        out=out,
        controls=Controls(how["random_control"], how["logmel_control"], how["random_seeds"]),
        cache=embedding_cache(how["cache"], how["no_cache"]).folder,
        device=str(pick_device(how["device"])),
        batch_size=how["batch_size"],
        pooling=how["pooling"],
        layer=layer,
        fast=how["fast"],
        splits={name: given[-1] for name, given in _by_task("--split", splits).items()},
    )
    accounts = run_benchmark(plan, search, jobs or _usual_jobs(plan.device), say)
    made, kept = sum(account.made for account in accounts), sum(account.kept for account in accounts)
    click.echo(f"{counted(made, 'evaluation')} made, {kept} kept from before, in {out}")
    failures = [f"{account.found.name}: {failure}" for account in accounts for failure in account.failures]
    if failures:
        raise ByolaError(f"{counted(len(failures), 'evaluation')} failed, the rest is done; the first: {failures[0]}")


def _by_task(option: str, given: tuple[str, ...]) -> dict[str, list[Path]]:
    """`TASK=PATH` arguments as a mapping."""
    from byol_a.config import nearest
    from byol_a.errors import UsageError
    from byol_a.recipes import list_recipes

    known, found = list_recipes("evaluate"), defaultdict(list)
    for argument in given:
        name, equals, path = argument.partition("=")
        if not equals or not path:
            raise UsageError(f"{option} {argument} is not TASK=PATH")
        if name not in known:
            raise UsageError(f"{option} {argument}: there is no task {name!r}{nearest(name, known)}")
        found[name].append(Path(path))
    return dict(found)


def _usual_jobs(device: str) -> int:
    """One task at a time on a CPU, whose cores one task uses all; one for each GPU."""
    if not device.startswith("cuda") or ":" in device:
        return 1
    import torch

    return max(1, torch.cuda.device_count())
