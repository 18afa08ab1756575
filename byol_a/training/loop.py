"""The training loop: what happens at every step, and everything that may end it early."""

from __future__ import annotations

import contextlib
import signal

import torch

from byol_a.data.report import FileReport
from byol_a.errors import ByolaError
from byol_a.interrupt import Interrupted, StopSignals
from byol_a.training.checkpoint import save_checkpoint
from byol_a.training.ending import sentence
from byol_a.training.log import RunLog
from byol_a.training.look_ahead import LookAhead
from byol_a.training.run_folder import RunFolder
from byol_a.training.sources import Source
from byol_a.training.trainer import Trainer


class Diverged(ByolaError):
    """The loss or the weights of a run are not finite any more."""


def train(trainer: Trainer, source: Source, folder: RunFolder) -> None:
    """Batches in, steps, a log line and a checkpoint now and then, to the last step or until asked to stop.

    Raises:
        Interrupted: after SIGINT or SIGTERM; everything is saved.
        Diverged: if the loss or the weights are not finite.
        ByolaError: if the data cannot be read any more (everything is saved), or a checkpoint cannot be written.
    """
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
    wants_to_stop = processes.vote()
    signals = StopSignals(past_errors=processes.world_size > 1)
    with contextlib.closing(batches), signals as stop, log:
        steps = LookAhead(batches, training.accumulate)
        for parts in steps:
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
            stopping = wants_to_stop(stop.number != 0 or steps.failure is not None)
            if due_checkpoint or stopping:
                log.sync()
                _save(trainer, source.report, folder, keep=due_copy)
            if stopping and not last:
                raise _stopped(trainer, stop.number, steps.failure, folder) from steps.failure


def _stopped(trainer: Trainer, number: int, failure: Exception | None, folder: RunFolder) -> ByolaError:
    """Why the run stops, the same in every process: one cannot read its data, or a signal asked for it."""
    failed = f", because reading the data failed ({sentence(failure)})" if failure is not None else None
    everywhere = trainer.processes.broadcast(trainer.processes.gather(failed))
    message = (
        f"stopped at step {trainer.step} of {trainer.total_steps}{next(filter(None, everywhere), '')}, everything is "
        f"saved; continue with: {resume_command(folder)}"
    )
    return ByolaError(message) if any(everywhere) else Interrupted(message, number or signal.SIGTERM)


def _require_finite(trainer: Trainer, loss: torch.Tensor, folder: RunFolder) -> None:
    finite = bool(torch.isfinite(loss))
    if trainer.processes.any(not finite):
        what = f"the loss became {loss.item()}" if not finite else "the loss of another process was not finite"
        raise _diverged(what, trainer, folder)


def _diverged(what: str, trainer: Trainer, folder: RunFolder) -> Diverged:
    return Diverged(
        f"{what} at step {trainer.step}; {kept(folder)}; continue it with --resume and a smaller optimizer.lr, "
        "an optimizer.clip_norm or training.precision=float32"
    )


def kept(folder: RunFolder) -> str:
    """What is left of a run that ended with an error, as a part of its sentence."""
    if folder.last_checkpoint.exists():
        return f"the last good checkpoint is {folder.last_checkpoint}"
    return "no checkpoint was written before"


def resume_command(folder: RunFolder) -> str:
    """What to type to go on with a run."""
    return f"byol-a pretrain --resume --out {folder.path}"


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
