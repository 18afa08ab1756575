"""Pre-training from start to finish: what stands before the loop and after it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

import byol_a
from byol_a.data.crops import Problems
from byol_a.data.files import SYNTH, is_synth
from byol_a.data.report import FileReport
from byol_a.device import resolve_precision
from byol_a.errors import ByolaError, require
from byol_a.frontend import LogMel
from byol_a.kernels.build import first_use
from byol_a.normalize import NormStats
from byol_a.training.checkpoint import load_checkpoint
from byol_a.training.clip_list import ClipList, gather_clips
from byol_a.training.config import PretrainConfig
from byol_a.training.distributed import Processes, join_processes
from byol_a.training.ending import sentence
from byol_a.training.export import export
from byol_a.training.log import read_metrics
from byol_a.training.loop import kept, resume_command, train
from byol_a.training.plot import plot_training
from byol_a.training.recovery import fits, mend_checkpoint
from byol_a.training.run_folder import RunFolder
from byol_a.training.sources import ClipSource, Source, SynthTrainingSource, shares
from byol_a.training.trainer import Trainer


def pretrain(
    config: PretrainConfig,
    data: Sequence[str | Path] | ClipList,
    out: str | Path,
    device: str = "auto",
    recipe: str | None = None,
    stats: NormStats | None = None,
) -> Path:
    """Pre-train a model on audio, or on synthesised sound.

    Args:
        config: the run's configuration.
        data: audio files and folders, an index (`byol-a scan`), a store (`byol-a pack`), or the word "synth"; or the
            clips themselves, where somebody has chosen them already.
        out: folder of the new run; must not hold anything.
        device: "auto", "cpu", "cuda" or "cuda:N".
        recipe: name of the recipe, for the model's provenance.
        stats: log-mel statistics of the data, where they are known; otherwise they are measured first.

    Returns:
        The exported model's folder.

    Raises:
        UsageError: if `out` exists or the configuration does not fit the machine.
        Interrupted: after SIGINT or SIGTERM; everything is saved.
        ByolaError: if no file is usable, the loss is not finite or a checkpoint cannot be written.
    """
    folder = RunFolder(out)
    with join_processes(device) as processes:
        if processes.is_main:
            folder.refuse_existing()
        config = _fitted(config, processes)
        clips, unusable = _clips_of(data, config, processes)
        source = _open_source(config, clips, processes)
        source.report.extend(unusable)
        trainer = _new_trainer(config, source, processes, stats)
        processes.remember_run(folder.path)
        with _alone(folder, processes):
            # Written only now: a job that found nothing to learn from leaves no folder in the way of the next try.
            if processes.is_main:
                folder.refuse_existing()  # again: another job may have begun the run while this one measured
                folder.create(config, clips, _description(config, data, clips, recipe))
            return _run(trainer, source, folder)


def resume(config: PretrainConfig, out: str | Path, device: str = "auto") -> Path:
    """Continue the run in `out` with `config` (what `RunFolder.config` gives, or that with a few changes).

    A run that was stopped before its first checkpoint starts anew. Returns and raises as `pretrain` does.
    """
    folder = RunFolder(out)
    folder.require()
    with join_processes(device) as processes, _alone(folder, processes):
        processes.remember_run(folder.path)
        config = _fitted(config, processes)
        clips = folder.clips()
        source = _open_source(config, clips if clips is None else clips.at_root(config.data.root), processes)
        source.report.extend(FileReport.read(folder.bad_files).items())
        if processes.is_main:
            # The next --resume must go on with the settings of this one.
            folder.write_config(config)
            folder.remove_partial_files()
        if _has_checkpoint(folder, processes):
            trainer = _restored_trainer(config, source, processes, folder.last_checkpoint)
        else:
            trainer = _new_trainer(config, source, processes)
        return _run(trainer, source, folder)


def _clips_of(
    data: Sequence[str | Path] | ClipList, config: PretrainConfig, processes: Processes
) -> tuple[ClipList | None, Problems]:
    """The clips to learn from, None for synthesised sound, and the files that can be told to be unusable."""
    if isinstance(data, ClipList):
        return data, []
    return (None, []) if is_synth(data) else gather_clips(data, config.data, processes)


def _alone(folder: RunFolder, processes: Processes) -> contextlib.AbstractContextManager[Any]:
    """The main process's claim to be the only one that writes to the run."""
    return folder.writing() if processes.is_main else contextlib.nullcontext()


def _description(
    config: PretrainConfig, data: Sequence[str | Path] | ClipList, clips: ClipList | None, recipe: str | None
) -> dict[str, Any]:
    """What run.json says."""
    if isinstance(data, ClipList):
        data = [data.store] if data.store is not None else data.index.roots
    return {
        "byol_a_version": byol_a.__version__,
        "torch_version": torch.__version__,
        "recipe": recipe,
        "data": [str(entry) for entry in data],
        "files": len(clips) if clips is not None else None,
        "data_fingerprint": clips.fingerprint if clips is not None else SYNTH,
        "seed": config.training.seed,
    }


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
    if processes.is_main and config.training.fast != "off" and (notice := first_use(processes.device.type)):
        print(notice, flush=True)
    precision = resolve_precision(config.training.precision, processes.device)
    return replace(config, training=replace(config.training, precision=precision))


def _open_source(config: PretrainConfig, clips: ClipList | None, processes: Processes) -> Source:
    """Crops of the clips, or synthesised sounds where there are none."""
    return SynthTrainingSource(config, processes) if clips is None else ClipSource(clips, config, processes)


def _new_trainer(
    config: PretrainConfig, source: Source, processes: Processes, stats: NormStats | None = None
) -> Trainer:
    """A trainer before its first step; statistics that are not known are measured first, by the main process."""
    if config.normalization.kind == "running":
        return _trainer(config, None, source, processes)
    if stats is not None:
        return _trainer(config, stats, source, processes)
    measured = None
    if processes.is_main:
        frontend = LogMel(config.frontend).to(processes.device)
        measured = asdict(source.statistics(frontend, config.normalization.crops))
    return _trainer(config, NormStats(**processes.broadcast(measured)), source, processes)


def _trainer(config: PretrainConfig, stats: NormStats | None, source: Source, processes: Processes) -> Trainer:
    """A trainer whose schedules are counted in steps: how many make an epoch is known now."""
    clips = source.clips_per_epoch
    optimizer = config.optimizer.in_steps(clips / config.training.batch_size)
    return Trainer(replace(config, optimizer=optimizer), stats, processes, total_steps(config, clips))


def _has_checkpoint(folder: RunFolder, processes: Processes) -> bool:
    """Whether there is a checkpoint to go on from; the main process sees to it that it is a good one."""
    return processes.from_main(lambda: mend_checkpoint(folder.last_checkpoint))


def _restored_trainer(config: PretrainConfig, source: Source, processes: Processes, checkpoint: Path) -> Trainer:
    """A trainer as it was when the checkpoint was written.

    Raises:
        ByolaError: if the checkpoint is another run's.
    """
    snapshot = load_checkpoint(checkpoint)
    with fits(checkpoint):
        # Running statistics come back with the pipeline's own state.
        stats = NormStats(**snapshot["stats"]) if config.normalization.kind == "dataset" else None
    trainer = _trainer(config, stats, source, processes)
    with fits(checkpoint):
        trainer.restore(snapshot)
    return trainer


def _run(trainer: Trainer, source: Source, folder: RunFolder) -> Path:
    """Train to the last step, then write the picture and the model; the main process alone writes."""
    is_main = trainer.processes.is_main
    if is_main and trainer.remark is not None:
        print(trainer.remark, flush=True)
    if is_main and trainer.step >= trainer.total_steps:
        print(f"the run is complete at {trainer.step} steps; to go on, give --steps or --epochs", flush=True)
    warmup = trainer.config.optimizer.warmup_steps or 0
    if is_main and warmup >= trainer.total_steps > trainer.step:
        print(
            f"the learning rate rises for {warmup} steps, longer than the run of {trainer.total_steps}; to shorten "
            "that, begin it with optimizer.warmup_steps or optimizer.warmup_epochs",
            flush=True,
        )
    try:
        train(trainer, source, folder)
    except OSError as error:
        raise ByolaError(
            f"the run ended at step {trainer.step} ({sentence(error)}); {kept(folder)}; mend that and continue with: "
            f"{resume_command(folder)}"
        ) from error
    finally:
        if is_main and len(source.report):
            # Bad files may lie in the folders beside those counted: what was listed, not what was found.
            print(f"{source.report.summary()}; see {folder.bad_files}", flush=True)
    if is_main:
        rows = read_metrics(folder.metrics)
        if rows:
            plot_training(rows, folder.plot, f"{trainer.config.encoder.name}, {rows[-1]['clips']:,} clips")
        try:
            export(folder.path, folder.model, overwrite=True)
        except (OSError, SafetensorError) as error:
            raise ByolaError(
                f"the run is complete and saved, but its model could not be written ({sentence(error)}); mend that and "
                f"use: byol-a export {folder.path} --out {folder.model} --overwrite"
            ) from error
        print(f"model: {folder.model}", flush=True)
    return folder.model
