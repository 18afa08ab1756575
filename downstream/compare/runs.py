"""One run of a comparison: trained or gone on with, measured, and noted, so that it is not done again."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from byol_a.device import resolve_precision
from byol_a.errors import ByolaError
from byol_a.files import write_json
from byol_a.normalize import NormStats
from byol_a.training.checkpoint import load_checkpoint
from byol_a.training.config import PretrainConfig
from byol_a.training.distributed import Processes
from byol_a.training.export import model_of
from byol_a.training.loop import Diverged
from byol_a.training.pretrain import pretrain, resume
from byol_a.training.run_folder import RunFolder
from byol_a.training.trainer import Trainer
from byol_a.words import one_line
from downstream.compare.contestants import Contestant
from downstream.compare.corpus import Corpus
from downstream.compare.measures import Measures, measure

RECORD = "compared.json"


@dataclass(frozen=True)
class RunRecord:
    """What became of a run: its measures; None of one that diverged, of which `words` say how."""

    outcome: Literal["trained", "untrained", "diverged"]
    measures: Measures | None
    words: str = ""
    seconds: float = 0.0


def read_record(folder: Path) -> RunRecord | None:
    """The record of a finished run in its folder; None where there is none.

    Raises:
        ByolaError: if it cannot be read.
    """
    path = folder / RECORD
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        measures = values.pop("measures")
        return RunRecord(measures=None if measures is None else Measures(**measures), **values)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ByolaError(
            f"{path} cannot be read ({one_line(error)}); put it back, or delete {folder} to do that run anew"
        ) from error


def finish_run(
    contestant: Contestant, seed: int, folder: Path, corpus: Corpus, processes: Processes, keep_checkpoints: bool
) -> RunRecord:
    """Train a contestant with a seed, or go on where that was stopped, and measure what came out.

    The model is in `RunFolder(folder).model` then. Checkpoints, which are many times larger than the model, are
    deleted once all is measured, unless they are to be kept.

    Raises:
        Interrupted: after SIGINT or SIGTERM; the same call goes on.
        ByolaError: for anything but a loss that is not finite.
    """
    run = RunFolder(folder)
    record = read_record(folder)
    if record is None:
        record = _finish(contestant, seed, run, corpus, processes)
    if not keep_checkpoints:  # a kill may have come between the record and this, or others were wanted then
        shutil.rmtree(run.checkpoints, ignore_errors=True)
    return record


def _finish(contestant: Contestant, seed: int, run: RunFolder, corpus: Corpus, processes: Processes) -> RunRecord:
    """What `finish_run` does of a run without a record, checkpoints left."""
    began, folder, config = time.monotonic(), run.path, contestant.run_config(seed)
    try:
        if contestant.control:
            trainer = _untrained(config, folder, corpus, processes)
        else:
            with contextlib.redirect_stdout(sys.stderr):  # standard output is the table's
                _train(contestant, config, run, corpus, str(processes.device))
            trainer = _trained(run, processes)
        measures = measure(trainer, corpus.held_out_crops(config))
        record = RunRecord("untrained" if contestant.control else "trained", measures)
    except Diverged as error:
        record = RunRecord("diverged", None, one_line(error).partition(";")[0])
    record = replace(record, seconds=round(time.monotonic() - began, 2))
    write_json(folder / RECORD, asdict(record))
    return record


def _train(contestant: Contestant, config: PretrainConfig, run: RunFolder, corpus: Corpus, device: str) -> None:
    if run.config_file.is_file() and run.last_checkpoint.is_file():
        resume(run.config(), run.path, device)
        return
    if run.model.exists():
        raise ByolaError(
            f"{run.path} holds a model, but neither {RECORD} nor the checkpoint to make it from; put one of them back, "
            "or delete the folder to do that run anew"
        )
    # Stopped before its first checkpoint, if it was begun at all: anew, from the shared statistics.
    shutil.rmtree(run.path, ignore_errors=True)
    stats = corpus.statistics(config) if config.normalization.kind == "dataset" else None
    pretrain(config, corpus.training_clips(config), run.path, device, contestant.recipe, stats)


def _trained(run: RunFolder, processes: Processes) -> Trainer:
    """A finished run's trainer, from its last checkpoint."""
    config, snapshot = run.config(), load_checkpoint(run.last_checkpoint)
    stats = NormStats(**snapshot["stats"]) if config.normalization.kind == "dataset" else None
    trainer = _trainer(config, stats, processes, snapshot["step"])
    trainer.restore(snapshot)
    return trainer


def _untrained(config: PretrainConfig, folder: Path, corpus: Corpus, processes: Processes) -> Trainer:
    """The trainer of a run before its first step, whose model is written where a trained one would be."""
    trainer = _trainer(config, corpus.statistics(config), processes, 1)
    model = model_of(config, trainer.snapshot(), {"seed": config.training.seed})
    model.save_pretrained(RunFolder(folder).model, overwrite=True)
    return trainer


def _trainer(config: PretrainConfig, stats: NormStats | None, processes: Processes, steps: int) -> Trainer:
    precision = resolve_precision(config.training.precision, processes.device)
    training = replace(config.training, precision=precision, compile=False)
    return Trainer(
        replace(config, training=training, optimizer=config.optimizer.in_steps(1.0)), stats, processes, steps
    )
