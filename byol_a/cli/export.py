"""`byol-a export`: the model folder of a run, at any checkpoint."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Write the model of a pre-training run.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the model.")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="Which checkpoint.  [default: RUN/checkpoints/last.pt]",
)
@click.option("--overwrite", is_flag=True, help="Replace --out if it exists.")
def export(run: Path, out: Path, checkpoint: Path | None, overwrite: bool) -> None:
    """Write the encoder of a pre-training RUN as a self-contained model folder."""
    # What can be told without torch is told first, at once.
    from byol_a.files import refuse_existing
    from byol_a.training.run_folder import RunFolder

    RunFolder(run).require()
    refuse_existing(out, overwrite)

    from byol_a.training.export import export as write

    click.echo(f"model: {write(run, out, checkpoint, overwrite)}")
