"""`byol-a demo`: the whole road with nothing downloaded, from synthesised sounds to a table of scores."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

MARKER = ".byol-a-demo"
WRITTEN = ("sounds", "run", "store", "scores")


@click.command(short_help="Pre-train, embed and evaluate on synthesised sound.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("demo-output"), show_default=True, help="Where to write."
)
@click.option("--steps", type=click.IntRange(2), help="Optimiser steps.  [default: the demo recipe's]")
@click.option("--per-class", type=click.IntRange(10), default=200, show_default=True, help="Sounds of each class.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--overwrite", is_flag=True, help="Replace --out if it exists.")
def demo(out: Path, steps: int | None, per_class: int, device: str, overwrite: bool) -> None:
    """Show all of byol-a in a few minutes, with nothing downloaded.

    Renders a small labelled set of sounds, pre-trains an encoder on other synthesised sounds without labels,
    embeds the set, and scores the encoder against the same network with random weights and against log-mel
    statistics.
    """
    _claim(out, overwrite)
    sounds, run = out / "sounds", out / "run"

    _heading(1, f"rendering {per_class} sounds of each class into {sounds}")
    _render(sounds, per_class)

    _heading(2, "pre-training on synthesised sound, without labels: byol-a pretrain --recipe demo --data synth")
    model = _pretrain(run, steps, device)

    _heading(3, f"embedding the sounds: byol-a embed {model} {sounds} --out {out / 'store'}")
    _embed(model, sounds, out / "store", device)

    _heading(4, f"scoring: byol-a evaluate {model} --task folder --data {sounds} --random-control --logmel-control")
    outcomes = _evaluate(model, sounds, out / "scores", device)

    click.echo("\npictures:")
    for picture in (run / "training.png", *sorted((out / "scores").rglob("*.png"))):
        click.echo(f"  {picture}")
    click.echo(f"\n{_verdict(outcomes)}")


def _claim(out: Path, overwrite: bool) -> None:
    """Make the folder, or with `overwrite` empty it of what an earlier demo wrote, and of nothing else."""
    import shutil

    from byol_a.errors import UsageError
    from byol_a.files import refuse_existing

    if out.is_file():
        raise UsageError(f"{out} is a file; --out names a folder")
    refuse_existing(out, overwrite)
    if out.exists() and any(out.iterdir()) and not (out / MARKER).exists():
        raise UsageError(f"{out} was not written by byol-a demo: --overwrite does not replace it; give another --out")
    for name in WRITTEN:
        shutil.rmtree(out / name, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).write_text("This folder was written by byol-a demo; demo --overwrite replaces what is in it.\n")


def _heading(number: int, text: str) -> None:
    click.echo(f"\n[{number}/4] {text}")


def _render(folder: Path, per_class: int) -> None:
    from byol_a.data.synth.classes import CLASSES, write_labelled_set

    began = time.monotonic()
    paths = write_labelled_set(folder, per_class, seed=7)
    click.echo(f"{len(paths)} sounds of {len(CLASSES)} classes in {time.monotonic() - began:.0f} s")


def _pretrain(run: Path, steps: int | None, device: str) -> Path:
    from byol_a.allocator import keep_freed_memory
    from byol_a.config import apply_overrides, build
    from byol_a.device import pick_device
    from byol_a.recipes import read_recipe
    from byol_a.training.config import PretrainConfig
    from byol_a.training.pretrain import pretrain

    if pick_device(device).type == "cpu":
        keep_freed_memory()
    changes = [] if steps is None else [f"training.steps={steps}"]
    config = build(PretrainConfig, apply_overrides(read_recipe("pretrain", "demo"), changes), "recipe demo")
    return pretrain(config, ["synth"], run, device, recipe="demo")


def _embed(model: Path, sounds: Path, store: Path, device: str) -> None:
    from byol_a import BYOLA
    from byol_a.device import pick_device
    from byol_a.embed import embed

    embedded = embed(BYOLA.from_pretrained(str(model)).to(pick_device(device)), [sounds], store)
    rows, dim = embedded.embeddings.shape
    click.echo(f"{rows} embeddings of {dim} numbers in {store}")


def _evaluate(model: Path, sounds: Path, out: Path, device: str) -> Any:
    from byol_a.device import pick_device
    from downstream.cells import write_cell
    from downstream.entrants import Controls, entrants_for
    from downstream.evaluate import evaluate
    from downstream.features import EmbeddingCache
    from downstream.outputs import write_outputs
    from downstream.protocols import make_protocol
    from downstream.tables import print_table, table_rows
    from downstream.tasks import load_task

    task = load_task("folder", sounds)
    click.echo(task.describe())
    on = str(pick_device(device))
    protocols, cache = [make_protocol("default")], EmbeddingCache(None)
    outcomes = []
    for entrant in entrants_for(str(model), Controls(random=True, logmel=True), task.clips, 32, on):
        found = evaluate(task, entrant, protocols, cache, on, lambda line: None, draw_map=True, progress=False)
        outcomes += found
        for outcome in found:
            write_cell(out, outcome)
    print_table(table_rows(outcomes))
    write_outputs(out, lambda line: None)
    click.echo(f"\nreport: {out / 'report.html'}")
    return outcomes


def _verdict(outcomes: Any) -> str:
    """One sentence: whether training helped, judged by the logistic regression's accuracy."""
    trained, random = (outcome.results[0].metrics["accuracy"] for outcome in outcomes[:2])
    figures = f"{100 * trained.value:.1f} % against {100 * random.value:.1f} %"
    if trained.low > random.high:
        return f"Pre-training helped: {figures} with random weights, their 95 % intervals apart."
    if trained.value > random.value:
        return f"Pre-training helped by less than the 95 % intervals can tell: {figures} with random weights."
    return f"Pre-training did not help here: {figures} with random weights."
