"""The command `byol-a report`."""

from __future__ import annotations

from pathlib import Path

import click

from downstream.cli.options import FOLDER, say


@click.command(short_help="Write the report of results that are there.")
@click.argument("results", type=FOLDER)
def report(results: Path) -> None:
    """Write report.html and report.md anew from what `evaluate --out` or `benchmark` left in RESULTS."""
    from byol_a.errors import UsageError
    from downstream.outputs import write_outputs
    from downstream.results import CELL, CELLS

    if not any((results / CELLS).glob(f"*/*/*/{CELL}")):
        raise UsageError(f"{results} holds no results; give a folder that `evaluate --out` or `benchmark` wrote")
    write_outputs(results, say)
