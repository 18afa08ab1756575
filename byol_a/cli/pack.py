"""`byol-a pack`: decode a collection once, into a store from which crops are read at the speed of memory."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from byol_a.data.store.audio_store import AudioStore
    from byol_a.data.store.pack import PackResult

_DAMAGES_SHOWN = 20


@click.command(short_help="Decode everything once, into a store.")
@click.argument("inputs", metavar="INDEX|DIR...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(), help="Store to make or continue.")
@click.option("--rate", type=int, default=16000, show_default=True, help="Sample rate of the store in Hz.")
@click.option("--min-seconds", type=float, default=0.0, help="Leave out what is shorter.")
@click.option("--max-silence", type=float, default=1.0, help="Leave out what has a larger fraction of digital silence.")
@click.option("--include", metavar="GLOB", multiple=True, help="Pack only paths that match (may be given again).")
@click.option("--exclude", metavar="GLOB", multiple=True, help="Leave out paths that match (may be given again).")
@click.option("--ids", type=click.Path(), metavar="CSV", help="Pack only clips whose id is in the first column.")
@click.option("--dedupe", is_flag=True, help="Pack the first of several files that hold the same sound.")
@click.option(
    "--shard-mb",
    type=click.FloatRange(min=0.001, max=1e6),
    default=256,
    show_default=True,
    help="Largest file of the store, in MB.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes.  [default: one for each core]")
@click.option("--verify", is_flag=True, help="Check the store against its checksums, after packing or on its own.")
@click.option("--overwrite", is_flag=True, help="Replace a store that is there.")
@click.option("--skip-unreadable", is_flag=True, help="Finish without the files that cannot be read at this time.")
@click.option("--root", type=click.Path(), metavar="DIR", help="Where the files are now, if moved since the scan.")
def pack(
    inputs: tuple[Path, ...],
    out: str | None,
    rate: int,
    min_seconds: float,
    max_silence: float,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    ids: str | None,
    dedupe: bool,
    shard_mb: float,
    workers: int | None,
    verify: bool,
    overwrite: bool,
    skip_unreadable: bool,
    root: str | None,
) -> None:
    """Decode audio to a store: mono int16 samples at one rate, in .npy files that are memory-mapped.

    INDEX is what `byol-a scan` has written; folders are scanned first. Run the same command again to continue after
    an interruption, or when files that could not be read are back: what is finished of the store is kept.
    `byol-a pack STORE --verify` checks a store, and names the clips that are damaged.
    """
    from byol_a.data.store.audio_store import AudioStore, is_store

    if out is None:
        if not verify:
            raise click.UsageError("Missing option '--out': the store to make.")
        if len(inputs) != 1:
            raise click.UsageError("--verify without --out checks one store: byol-a pack STORE --verify")
        _verify(AudioStore.open(inputs[0], look_at_shards=False))
        return
    if verify and not inputs and out and is_store(out):
        _verify(AudioStore.open(out, look_at_shards=False))
        return
    if math.isnan(shard_mb):  # which is in any range
        raise click.UsageError("--shard-mb must be a number of megabytes, not nan")

    from byol_a.data.selection import FilterConfig
    from byol_a.data.store.pack import pack as pack_audio

    result = pack_audio(
        inputs,
        out,
        sample_rate=rate,
        filters=FilterConfig(min_seconds, max_silence, list(include), list(exclude), ids, dedupe),
        shard_bytes=round(shard_mb * 1e6),
        workers=workers,
        overwrite=overwrite,
        skip_unreadable=skip_unreadable,
        root=root,
    )
    _summarise(result)
    if verify:
        _verify(result.store)


def _summarise(result: PackResult) -> None:
    from byol_a.data.store.audio_store import BAD_FILES
    from byol_a.progress import format_bytes
    from byol_a.words import counted

    store = result.store
    counts, shards = store.description["counts"], counted(len(store.description["shards"]), "shard")
    if not result.is_new:
        click.echo(f"{store.folder} is finished already; --overwrite packs it anew", err=True)
    click.echo(
        f"{store.folder}: {len(store)} clips, {result.hours:.2f} hours at {store.sample_rate} Hz, "
        f"{format_bytes(counts['bytes'])} in {shards}"
    )
    filtered = [f"{count} {reason}" for reason, count in result.dropped.items() if reason != "unusable"]
    if filtered:
        click.echo(f"left out by filters: {', '.join(filtered)}")
    if result.clipped:
        click.echo(f"{result.clipped} clips are louder than full scale, and cut off there")
    if len(result.report):
        click.echo(f"{result.report.summary()}; see {store.folder / BAD_FILES}", err=True)


def _verify(store: AudioStore) -> None:
    from byol_a.errors import ByolaError
    from byol_a.words import counted, printable

    damage = store.verify(progress=True)
    for name, reason in damage[:_DAMAGES_SHOWN]:
        click.echo(printable(f"{name}: {reason}"))
    if len(damage) > _DAMAGES_SHOWN:
        click.echo(f"and {len(damage) - _DAMAGES_SHOWN} more")
    if damage:
        raise ByolaError(
            f"the store {store.folder} is damaged, as listed above; copy it again from where it is whole, or pack it "
            f"anew with --overwrite"
        )
    shards = counted(len(store.description["shards"]), "shard")
    click.echo(f"{store.folder}: {shards} and {len(store)} clips are as packed")
