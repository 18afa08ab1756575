"""`byol-a embed`: audio files and folders to an embedding store."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Embed audio with a model.")
@click.argument("model")
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Store to make or continue.")
@click.option(
    "--level",
    type=click.Choice(["clip", "frame"]),
    default="clip",
    show_default=True,
    help="One embedding per file (or window), or one per frame.",
)
@click.option("--window", type=float, metavar="SECONDS", help="One clip embedding per window of this length.")
@click.option("--hop", type=float, metavar="SECONDS", help="From one window to the next.  [default: --window]")
@click.option(
    "--format",
    "matrix_format",
    type=click.Choice(["npy", "safetensors"]),
    default="npy",
    show_default=True,
    help="File format of the matrix.",
)
@click.option("--export", type=click.Choice(["csv", "npz"]), help="Also write everything as one file of this kind.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="The most clips in one pass.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "bf16"]),
    default="float32",
    show_default=True,
    help="bf16 is faster on GPUs and on CPUs made for it, and less exact.",
)
@click.option(
    "--fast",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="Whether the device's own kernels are used: auto, where there are some. The embeddings are the same but for "
    "rounding.",
)
@click.option(
    "--samples",
    type=click.IntRange(2),
    metavar="K",
    help="Of a model with variational weights: mean and standard deviation over K samples of them, side by side.",
)
@click.option("--overwrite", is_flag=True, help="Start a store that is there anew.")
def embed(
    model: str,
    inputs: tuple[Path, ...],
    out: Path,
    level: str,
    window: float | None,
    hop: float | None,
    matrix_format: str,
    export: str | None,
    batch_size: int,
    device: str,
    precision: str,
    fast: str,
    samples: int | None,
    overwrite: bool,
) -> None:
    """Embed audio files, and all audio below folders, with a model.

    MODEL is a model folder or a Hugging Face hub id. The store holds rows.parquet (file, start_s, end_s), the
    matrix with one embedding per row, provenance.json, and bad_files.csv. Run the same command again to
    continue after an interruption, or with more inputs to add to the store. --export npz writes the arrays
    files, file_index (files[file_index] names the rows), start_s, end_s and embeddings.
    """
    # What can be told without torch is told first, at once.
    from byol_a.data.files import refuse_missing
    from byol_a.model_folder import check_model
    from byol_a.windows import check_windows

    check_model(model)
    check_windows(level, window, hop)
    refuse_missing(inputs)

    from byol_a.store_writer import refuse_foreign

    refuse_foreign(out, overwrite)

    from byol_a.data.report import FileReport
    from byol_a.device import pick_device
    from byol_a.embed import embed as embed_files
    from byol_a.kernels.build import first_use
    from byol_a.model import BYOLA
    from byol_a.store import BAD_FILES
    from byol_a.words import counted

    network = BYOLA.from_pretrained(model).to(pick_device(device))
    if fast != "off" and (notice := first_use(network.device.type)):
        click.echo(notice, err=True)
    if remark := network.use_fast(fast):  # type: ignore[arg-type]
        click.echo(remark, err=True)
    store = embed_files(
        network,
        inputs,
        out,
        level=level,  # type: ignore[arg-type]
        window=window,
        hop=hop,
        matrix_format=matrix_format,  # type: ignore[arg-type]
        export=export,  # type: ignore[arg-type]
        batch_size=batch_size,
        precision=precision,  # type: ignore[arg-type]
        samples=samples,
        overwrite=overwrite,
    )
    counts = store.provenance["counts"]
    size = store.embeddings.shape[1]
    numbers = f"D = {size}" if samples is None else f"{size // 2} means and then {size // 2} deviations each"
    click.echo(f"{out}: {counted(counts['rows'], 'embedding')} of {counted(counts['files'], 'file')}, {numbers}")
    if counts["changed_files"]:
        click.echo(
            f"{counts['changed_files']} files have changed since they were embedded and keep their old embeddings; "
            f"--overwrite embeds everything anew",
            err=True,
        )
    if counts["bad_files"]:
        bad_files = out / BAD_FILES
        click.echo(f"{FileReport.read(bad_files).summary()}; see {bad_files}", err=True)
