"""Pre-training from start to finish: the loop, and what stands before and after it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

import byol_a
from byol_a.data.report import FileReport
from byol_a.device import resolve_precision
from byol_a.errors import ByolaError, require
from byol_a.frontend import LogMel
from byol_a.normalize import NormStats
from byol_a.training.checkpoint import load_checkpoint, save_checkpoint
from byol_a.training.config import PretrainConfig
from byol_a.training.distributed import Processes, join_processes
from byol_a.training.export import export
from byol_a.training.file_list import data_fingerprint, find_files, is_synth
from byol_a.training.interrupt import Interrupted, StopSignals
from byol_a.training.log import RunLog, read_metrics
from byol_a.training.plot import plot_training
from byol_a.training.run_folder import RunFolder
from byol_a.training.sources import SYNTH, Batch, FileSource, Source, SynthTrainingSource, shares
from byol_a.training.trainer import Trainer


def pretrain(
    config: PretrainConfig,
    data: Sequence[str | Path],
    out: str | Path,
    device: str = "auto",
    recipe: str | None = None,
) -> Path:
    """Pre-train a model on folders of audio, or on synthesised sound.

    Args:
        config: the run's configuration.
        data: audio files and folders, or the single word "synth".
        out: folder of the new run; must not hold anything.
        device: "auto", "cpu", "cuda" or "cuda:N".
        recipe: name of the recipe, for the model's provenance.

    Returns:
        The exported model's folder.

    Raises:
        UsageError: if `out` exists or the configuration does not fit the machine.
        Interrupted: after SIGINT or SIGTERM; everything is saved.
        ByolaError: if no file is usable, the loss is not finite or a checkpoint cannot be written.
    """
    folder = RunFolder(out)
    processes = join_processes(device)
    try:
        if processes.is_main:
            folder.refuse_existing()
        config = _fitted(config, processes)
        files, unusable = ([], []) if is_synth(data) else find_files(data, processes)
        source = _open_source(config, files, processes)
        source.report.extend(unusable)
        trainer = _new_trainer(config, source, processes)
        # Written only now: a job that found nothing to learn from leaves no folder in the way of the next try.
        if processes.is_main:
            description = {
                "byol_a_version": byol_a.__version__,
                "torch_version": torch.__version__,
                "recipe": recipe,
                "data": [str(entry) for entry in data],
                "files": len(files) or None,
                "data_fingerprint": data_fingerprint(files) if files else SYNTH,
                "seed": config.training.seed,
            }
            folder.create(config, files, description)
        return _run(trainer, source, folder)
    finally:
        processes.close()


def resume(config: PretrainConfig, out: str | Path, device: str = "auto") -> Path:
    """Continue the run in `out` with `config` (what `RunFolder.config` gives, or that with a few changes).

    A run that was stopped before its first checkpoint starts anew. Returns and raises as `pretrain` does.
    """
    folder = RunFolder(out)
    folder.require()
    processes = join_processes(device)
    try:
        config = _fitted(config, processes)
        source = _open_source(config, folder.files(), processes)
        source.report.extend(FileReport.read(folder.bad_files).items())
        if processes.is_main:
            # The next --resume must go on with the settings of this one.
            folder.write_config(config)
            folder.remove_partial_checkpoints()
        if folder.last_checkpoint.exists():
            trainer = _restored_trainer(config, source, processes, load_checkpoint(folder.last_checkpoint))
        else:
            trainer = _new_trainer(config, source, processes)
        return _run(trainer, source, folder)
    finally:
        processes.close()


def total_steps(config: PretrainConfig, clips_per_epoch: int) -> int:
    """Optimiser steps of a run: `training.steps`, or as many as the epochs need, the last batch full."""
    if config.training.steps is not None:
        return config.training.steps
    return -(-config.training.epochs * clips_per_epoch // config.training.batch_size)


def _fitted(config: PretrainConfig, processes: Processes) -> PretrainConfig:
    """The configuration with what "auto" means here, once it is known to work here."""
    shares(config, processes)
    if config.training.tensorboard:
        require("torch.utils.tensorboard", "training.tensorboard", install="tensorboard")
    precision = resolve_precision(config.training.precision, processes.device)
    return replace(config, training=replace(config.training, precision=precision))


def _open_source(config: PretrainConfig, files: list[Path], processes: Processes) -> Source:
    """Crops of the files, or synthesised sounds where there are none."""
    return FileSource(files, config, processes) if files else SynthTrainingSource(config, processes)


def _new_trainer(config: PretrainConfig, source: Source, processes: Processes) -> Trainer:
    """A trainer before its first step; the training set's statistics are measured first, by the main process."""
    steps = total_steps(config, source.clips_per_epoch)
    if config.normalization.kind == "running":
        return Trainer(config, None, processes, steps)
    measured = None
    if processes.is_main:
        frontend = LogMel(config.frontend).to(processes.device)
        measured = asdict(source.statistics(frontend, config.normalization.crops))
    return Trainer(config, NormStats(**processes.broadcast(measured)), processes, steps)


def _restored_trainer(
    config: PretrainConfig, source: Source, processes: Processes, snapshot: dict[str, Any]
) -> Trainer:
    """A trainer as it was when `snapshot` was taken."""
    # Running statistics come back with the pipeline's own state.
    stats = NormStats(**snapshot["stats"]) if config.normalization.kind == "dataset" else None
    trainer = Trainer(config, stats, processes, total_steps(config, source.clips_per_epoch))
    trainer.restore(snapshot)
    return trainer


def _run(trainer: Trainer, source: Source, folder: RunFolder) -> Path:
    """Train to the last step, then write the picture and the model; the main process alone writes."""
    is_main = trainer.processes.is_main
    if is_main and trainer.step >= trainer.total_steps:
        print(f"the run is complete at {trainer.step} steps; to go on, give --steps or --epochs", flush=True)
    try:
        _train(trainer, source, folder)
    finally:
        if is_main and len(source.report):
            # Bad files may lie in the folders beside those counted: what was listed, not what was found.
            print(f"{source.report.summary()}; see {folder.bad_files}", flush=True)
    if is_main:
        rows = read_metrics(folder.metrics)
        if rows:
            plot_training(rows, folder.plot, f"{trainer.config.encoder.name}, {rows[-1]['clips']:,} clips")
        export(folder.path, folder.model, overwrite=True)
        print(f"model: {folder.model}", flush=True)
    return folder.model


def _train(trainer: Trainer, source: Source, folder: RunFolder) -> None:
    """The loop: batches in, steps, a log line and a checkpoint now and then."""
    config, processes = trainer.config, trainer.processes
    training = config.training
    checks_each_step = processes.device.type == "cpu"  # on a GPU reading the loss would wait for the device
    log = RunLog(
        folder,
        trainer.step,
        trainer.total_steps,
        training.batch_size,
        tensorboard=training.tensorboard,
        enabled=processes.is_main,
    )
    batches = source.batches(trainer.step, trainer.total_steps)
    with contextlib.closing(batches), StopSignals() as stop, log:
        for parts in _grouped(batches, training.accumulate):
            output = trainer.train_step(parts)
            log.advance()
            last = trainer.step == trainer.total_steps
            due_log = trainer.step % training.log_every == 0 or last
            due_copy = training.keep_every > 0 and trainer.step % training.keep_every == 0
            due_checkpoint = trainer.step % training.checkpoint_every == 0 or due_copy or last
            if due_log or due_checkpoint or checks_each_step:
                _require_finite(trainer, output.loss, folder)
            if due_log:
                log.record(trainer.step, trainer.metrics(output))
            stopping = processes.any(stop.number != 0)
            if due_checkpoint or stopping:
                _save(trainer, source.report, folder, keep=due_copy)
            if stopping and not last:
                raise Interrupted(
                    f"stopped at step {trainer.step} of {trainer.total_steps}, everything is saved; continue with: "
                    f"byol-a pretrain --resume --out {folder.path}",
                    stop.number or 15,
                )


def _grouped(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    iterator = iter(batches)
    while group := list(itertools.islice(iterator, size)):
        yield group


def _require_finite(trainer: Trainer, loss: torch.Tensor, folder: RunFolder) -> None:
    finite = bool(torch.isfinite(loss))
    if trainer.processes.any(not finite):
        what = f"the loss became {loss.item()}" if not finite else "the loss of another process was not finite"
        raise _diverged(what, trainer, folder)


def _diverged(what: str, trainer: Trainer, folder: RunFolder) -> ByolaError:
    if folder.last_checkpoint.exists():
        kept = f"the last good checkpoint is {folder.last_checkpoint}"
    else:
        kept = "no checkpoint was written before"
    return ByolaError(
        f"{what} at step {trainer.step}; {kept}; continue it with --resume and a smaller optimizer.lr, "
        "an optimizer.clip_norm or training.precision=float32"
    )


def _save(trainer: Trainer, report: FileReport, folder: RunFolder, keep: bool) -> None:
    """Write a checkpoint and the report of bad files; every process takes part, the main one writes."""
    # A finite loss says nothing about the update that followed it.
    if trainer.processes.any(not trainer.is_finite()):
        raise _diverged("the weights became infinite or not a number", trainer, folder)
    snapshot = trainer.snapshot()
    for problems in trainer.processes.gather(report.items()):
        report.extend(problems)
    if trainer.processes.is_main:
        keep_as = folder.checkpoints / f"step-{trainer.step}.pt" if keep else None
        save_checkpoint(snapshot, folder.last_checkpoint, keep_as)
        if len(report):
            report.write(folder.bad_files)
