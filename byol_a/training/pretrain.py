"""Pre-training from start to finish: the loop, and what stands before and after it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

import byol_a
from byol_a.allocator import keep_freed_memory
from byol_a.data.files import find_audio
from byol_a.device import resolve_precision
from byol_a.errors import ByolaError
from byol_a.frontend import LogMel
from byol_a.normalize import NormStats
from byol_a.training.checkpoint import load_checkpoint, save_checkpoint
from byol_a.training.config import PretrainConfig
from byol_a.training.distributed import Processes, join_processes
from byol_a.training.export import export
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
    processes = _join(device)
    try:
        if processes.is_main:
            folder.refuse_existing()
        files = [] if is_synth(data) else [path.absolute() for path in find_audio(data)]
        precision = resolve_precision(config.training.precision, processes.device)
        config = replace(config, training=replace(config.training, precision=precision))
        source = _open_source(config, files, processes)
        trainer = _new_trainer(config, source, processes)
        # Written only now: a job that found nothing to learn from leaves no folder in the way of the next try.
        if processes.is_main:
            description = {
                "byol_a_version": byol_a.__version__,
                "torch_version": torch.__version__,
                "recipe": recipe,
                "data": [str(entry) for entry in data],
                "files": len(files) or None,
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
    processes = _join(device)
    try:
        source = _open_source(config, folder.files(), processes)
        if folder.last_checkpoint.exists():
            trainer = _restored_trainer(config, source, processes, load_checkpoint(folder.last_checkpoint))
        else:
            trainer = _new_trainer(config, source, processes)
        return _run(trainer, source, folder)
    finally:
        processes.close()


def _join(device: str) -> Processes:
    processes = join_processes(device)
    if processes.device.type == "cpu":
        keep_freed_memory()
    return processes


def is_synth(data: Sequence[str | Path]) -> bool:
    """Whether the data are the single word "synth"."""
    return [str(entry) for entry in data] == [SYNTH]


def total_steps(config: PretrainConfig, clips_per_epoch: int) -> int:
    """Optimiser steps of a run: `training.steps`, or as many as the epochs need, the last batch full."""
    if config.training.steps is not None:
        return config.training.steps
    return -(-config.training.epochs * clips_per_epoch // config.training.batch_size)


def _open_source(config: PretrainConfig, files: list[Path], processes: Processes) -> Source:
    """Crops of the files, or synthesised sounds where there are none."""
    shares(config, processes)
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
    try:
        _train(trainer, source, folder)
    finally:
        if is_main and len(source.report):
            source.report.write(folder.bad_files)
            print(f"{source.report.summary(total=source.clips_per_epoch)}; see {folder.bad_files}", flush=True)
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
    with StopSignals() as stop, log:
        for parts in _grouped(batches, training.accumulate):
            output = trainer.train_step(parts)
            log.advance()
            last = trainer.step == trainer.total_steps
            due_log = trainer.step % training.log_every == 0 or last
            due_checkpoint = trainer.step % training.checkpoint_every == 0 or last
            if due_log or due_checkpoint or checks_each_step:
                _require_finite(trainer, output.loss, folder)
            if due_log:
                log.record(trainer.step, trainer.metrics(output))
            stopping = processes.any(stop.number != 0)
            if due_checkpoint or stopping:
                _require_finite(trainer, output.loss, folder)
                _save(trainer, folder)
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
    if not trainer.processes.any(not bool(torch.isfinite(loss))):
        return
    if folder.last_checkpoint.exists():
        kept = f"the last good checkpoint is {folder.last_checkpoint}"
    else:
        kept = "no checkpoint was written before"
    raise ByolaError(
        f"the loss became {loss.item()} at step {trainer.step}; {kept}; continue it with --resume and a smaller "
        "optimizer.lr, an optimizer.clip_norm or training.precision=float32"
    )


def _save(trainer: Trainer, folder: RunFolder) -> None:
    keep_every = trainer.config.training.keep_every
    keep = keep_every > 0 and trainer.step % keep_every == 0
    snapshot = trainer.snapshot()
    if trainer.processes.is_main:
        keep_as = folder.checkpoints / f"step-{trainer.step}.pt" if keep else None
        save_checkpoint(snapshot, folder.last_checkpoint, keep_as)
