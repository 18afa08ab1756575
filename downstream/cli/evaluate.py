"""The command `byol-a evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from downstream.cli.options import FILE, FOLDER, scoring_options


@click.command(short_help="Score models on a labelled set.")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option(
    "--task", "task_name", required=True, help="What to score on: a name in `byol-a tasks`, or a recipe file."
)
@click.option("--data", type=FOLDER, required=True, help="Where the set was unpacked.")
@click.option("--label", help="Another label of the set, where it has several (fsdd: speaker).")
@click.option("--csv", type=FILE, help="folder: a table file_name,label[,split|fold][,group].")
@click.option(
    "--split",
    type=click.Path(path_type=Path),
    help="Your own division, for sets that have no official one (see `byol-a tasks`).",
)
@click.option(
    "--samples",
    type=int,
    metavar="K",
    help="Of models with variational weights: the mean embedding over K samples of them.",
)
@click.option("--out", type=FOLDER, help="Where to write scores, tables and the report. [default: nowhere]")
@scoring_options
def evaluate(
    models: tuple[str, ...],
    task_name: str,
    data: Path,
    label: str | None,
    csv: Path | None,
    split: Path | None,
    samples: int | None,
    out: Path | None,
    **how: Any,
) -> None:
    """Score MODELs on a labelled set of audio.

    A MODEL is a model folder, a Hugging Face hub id, `logmel` (statistics of log-mels, no network),
    `random:AudioNTT2022` (a network with random weights), or `module:function` that returns your own encoder.

    The default protocol embeds whole clips once, standardises on the training clips, and fits a logistic
    regression whose C is chosen without the test clips, and a 10-nearest-neighbour vote. Several models are
    compared clip by clip.
    """
    from downstream.cells import write_cell
    from downstream.cli.options import chosen_protocols, embedding_cache, parse_layer, say
    from downstream.comparison import print_comparisons
    from downstream.entrants import Controls, Entrant, check_name, entrants_for
    from downstream.evaluate import evaluate as run
    from downstream.evaluate import protocols_for
    from downstream.outputs import prepare, write_outputs
    from downstream.tables import print_table, table_rows
    from downstream.tasks import check_task, load_task

    # What can be told before torch is imported, which takes a second, and what before anything is read.
    layer = parse_layer(how["layer"])
    controls = Controls(how["random_control"], how["logmel_control"], how["random_seeds"])
    for model in (names := list(dict.fromkeys(models))):
        check_name(model, controls.beside(model, names), how["pooling"], layer, samples)
    check_task(task_name, data, label=label, csv=csv, split=split)
    asked = how["protocols"], how["settings"], how["seeds"]
    chosen_protocols(*asked)
    if out is not None:
        prepare(out)
    task = load_task(task_name, data, label=label, csv=csv, split=split)
    click.echo(task.describe())
    for warning in task.warnings():
        click.echo(f"warning: {warning}", err=True)
    task.rounds()  # a division that cannot be scored is said before the long part

    from byol_a.device import pick_device

    protocols = chosen_protocols(*asked, task.protocols)
    device = str(pick_device(how["device"]))
    cache = embedding_cache(how["cache"], how["no_cache"])
    entrants: dict[str, tuple[str, Entrant]] = {}  # by fingerprint: models may share a control
    for model in names:
        for entrant in entrants_for(
            model,
            controls.beside(model, names),
            task.clips,
            how["batch_size"],
            device,
            pooling=how["pooling"],
            layer=layer,
            cache=cache,
            samples=samples,
            fast=how["fast"],
        ):
            entrants.setdefault(entrant.features.fingerprint(), (model, entrant))
    outcomes = []
    for model, entrant in entrants.values():
        found = run(
            task, entrant, protocols_for(model, entrant, protocols), cache, device, say, draw_map=out is not None
        )
        outcomes += found
        if out is not None:
            for outcome in found:
                say(f"wrote {write_cell(out, outcome)}")
    print_table(table_rows(outcomes))
    print_comparisons(outcomes)
    if out is None:
        say("nothing was written; --out DIR keeps scores, tables, pictures and a report")
        return
    write_outputs(out, say)
