"""The command `byol-a evaluate`."""

from __future__ import annotations

from pathlib import Path

import click

from downstream.tasks import TASKS

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(short_help="Score a model on a labelled set.")
@click.argument("model")
@click.option("--task", "task_name", type=click.Choice(TASKS), required=True, help="What to score it on.")
@click.option("--data", type=FOLDER, required=True, help="Where the set was unpacked.")
@click.option("--label", help="fsdd: digit, speaker; nsynth: instrument_family, pitch. [default: the first]")
@click.option(
    "--csv",
    type=click.Path(dir_okay=False, path_type=Path),
    help="folder: a table file_name,label[,split|fold][,group] instead of a folder per class.",
)
@click.option("--protocol", type=click.Choice(["default"]), default="default", show_default=True)
@click.option("--random-control", is_flag=True, help="Also score the same network with fresh random weights.")
@click.option("--random-seeds", type=click.IntRange(1), help="Random networks to draw. [default: 1]")
@click.option("--logmel-control", is_flag=True, help="Also score mean, max and std over time of the log-mels.")
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Validation parts to draw, one after the other, where the set has none.",
)
@click.option("--out", type=FOLDER, help="Where to write scores.jsonl, tables and pictures. [default: nowhere]")
@click.option("--cache", type=FOLDER, help="Where to keep embeddings. [default: byol-a in the user's cache folder]")
@click.option("--no-cache", is_flag=True, help="Neither look for kept embeddings nor keep any.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Clips in one pass.")
def evaluate(
    model: str,
    task_name: str,
    data: Path,
    label: str | None,
    csv: Path | None,
    protocol: str,
    random_control: bool,
    random_seeds: int | None,
    logmel_control: bool,
    seeds: int,
    out: Path | None,
    cache: Path | None,
    no_cache: bool,
    device: str,
    batch_size: int,
) -> None:
    """Score MODEL on a labelled set of audio.

    MODEL is a model folder, a Hugging Face hub id, `logmel` (statistics of log-mels, no network), or
    `random:AudioNTT2022` (a network with random weights).

    The default protocol embeds whole clips once, standardises on the training clips, and fits a logistic
    regression whose C is chosen without the test clips, and a 10-nearest-neighbour vote.
    """
    from byol_a.device import pick_device
    from downstream.cache import EmbeddingCache, default_cache_folder
    from downstream.entrants import Controls, entrants_for
    from downstream.evaluate import evaluate_entrants, table_rows, write_outcomes
    from downstream.protocols import DefaultProtocol
    from downstream.report import print_table
    from downstream.tasks import load_task

    task = load_task(task_name, data, label=label, csv=csv)
    click.echo(task.describe())
    for warning in task.warnings():
        click.echo(f"warning: {warning}", err=True)
    task.rounds()  # a division that cannot be scored is said before the long part

    def say(line: str) -> None:
        click.echo(line, err=True)

    controls = Controls(random_control, logmel_control, random_seeds)
    entrants = entrants_for(model, controls, [clip.path for clip in task.clips], batch_size, str(pick_device(device)))
    store = EmbeddingCache(None if no_cache else cache or default_cache_folder())
    outcomes = evaluate_entrants(task, entrants, DefaultProtocol(seeds=tuple(range(seeds))), store, say)
    print_table(table_rows(outcomes))
    if out is None:
        say("nothing was written; --out DIR keeps scores.jsonl, per-class tables and confusion matrices")
        return
    for path in write_outcomes(out, outcomes):
        say(f"wrote {path}")
