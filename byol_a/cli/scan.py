"""`byol-a scan`: an index of all the audio below folders, with what is in each file and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from byol_a.data.index import AudioIndex


@click.command(short_help="Look into every file once and write an index.")
@click.argument("inputs", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Index (*.parquet) to make or bring up to date."
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes.  [default: one for each core]")
@click.option("--all", "rescan", is_flag=True, help="Read every file again, not only what is new or has changed.")
@click.option("--overwrite", is_flag=True, help="Replace an index of other folders, or of more.")
def scan(inputs: tuple[Path, ...], out: Path, workers: int | None, rescan: bool, overwrite: bool) -> None:
    """Look into all audio below folders (and in tar archives there) and write an index of it.

    The index is a Parquet table with a row for each file: where it is, format, rate, channels and length, peak, RMS
    and digital silence, a digest of its sound, and what is wrong with it if it cannot be used. Beside it a picture
    (.png) shows the durations. Run the same command again to continue after an interruption; once the index is
    there, only what is new or has changed is read. Which files to use is decided where the index is used.
    """
    from byol_a.data.scan.report import summary
    from byol_a.data.scan.scan import scan as scan_files
    from byol_a.errors import MissingPackageError, require

    picture: Path | None = out.with_name(f"{out.name}.png")
    try:
        require("matplotlib", "the picture beside the index")
    except MissingPackageError as error:
        click.echo(f"note: {error}", err=True)
        picture = None
    result = scan_files(inputs, out, workers=workers, rescan=rescan, overwrite=overwrite)
    click.echo(f"{out}: " + "\n".join(summary(result.index)))
    news = f"{result.new} new, {result.changed} changed, {result.unchanged} unchanged, {result.gone} gone"
    click.echo(f"  {'this scan':<10} {news}; {result.read} read")
    if picture is not None:
        _draw(result.index, picture)


def _draw(index: AudioIndex, picture: Path) -> None:
    from byol_a.data.scan.report import plot_durations
    from byol_a.words import one_line

    try:
        plot_durations(index, picture)
    except Exception as error:  # the index is complete, whatever becomes of its picture
        click.echo(f"note: the picture {picture} could not be drawn ({one_line(error)})", err=True)
    else:
        click.echo(f"  {'picture':<10} {picture}")
