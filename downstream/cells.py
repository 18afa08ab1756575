"""Writing what `downstream.results` reads: finished evaluations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from byol_a import __version__
from byol_a.errors import ByolaError
from byol_a.files import atomic_folder
from downstream import tables
from downstream.entrants import Entrant
from downstream.evaluate import Outcome, settings_of
from downstream.protocols import EvaluationProtocol
from downstream.results import (
    CELL,
    CELLS,
    FORMAT,
    FORMAT_VERSION,
    MAP,
    PREDICTIONS,
    Cell,
    NewerCell,
    Predictions,
    finite,
    read_cell,
)


def cell_folder(out: Path, about: dict[str, Any]) -> Path:
    """Where a cell is: the same model, data, task and protocol always in the same place.

    The name of the model's folder holds the last two parts of its path and the beginning of its fingerprint: models of
    one name differ by it, as do controls beside different models. So does the task's by the digest of its clips.

    Args:
        about: as in `downstream.results.Cell`; its entrant, task and protocol matter.
    """
    entrant, task = about["entrant"], about["task"]
    seed = [] if entrant["weight_seed"] is None else [f"seed{entrant['weight_seed']}"]
    model = tables.file_stem("/".join(Path(entrant["model"]).parts[-2:]), *seed, entrant["fingerprint"][:8])
    data = tables.file_stem(task["name"], task["clips_digest"][:8])
    return out / CELLS / data / about["protocol"]["name"] / model


def finished_cell(
    out: Path, task: str, clips_digest: str, data_fingerprint: str, entrant: Entrant, protocol: EvaluationProtocol
) -> Cell | None:
    """The cell that answered the same question before: same weights, clips, audio, settings and byol-a.

    Args:
        task: its name.
        clips_digest, data_fingerprint: of the task's clips, as a cell has them.

    Returns:
        None if there is none, or it is damaged.

    Raises:
        NewerCell: if a newer byol-a answered it.
    """
    features = entrant.features
    fingerprint = features.fingerprint()
    who = {"model": features.name, "fingerprint": fingerprint, "weight_seed": entrant.weight_seed}
    asked = {
        "entrant": who,
        "task": {"name": task, "clips_digest": clips_digest},
        "protocol": {"name": protocol.name},
    }
    folder = cell_folder(out, asked)
    if not (folder / CELL).is_file():
        return None
    try:
        cell = read_cell(folder)
        cell.predictions  # noqa: B018 (reading shows whether they are whole)
    except NewerCell:
        raise
    except ByolaError:
        return None
    about = cell.about
    is_same = (
        about["entrant"]["fingerprint"] == fingerprint
        and about["task"]["clips_digest"] == clips_digest
        and about["protocol"]["settings"] == settings_of(protocol)
        and about["run"]["package_version"] == __version__
        and about["task"]["data_fingerprint"] == data_fingerprint
    )
    return cell if is_same else None


def write_cell(out: Path, outcome: Outcome, with_tables: bool = True) -> Path:
    """Write a finished evaluation, whole or not at all, in place of an earlier one of the same; returns its folder.

    Args:
        with_tables: whether class tables and confusion matrices lie beside it.

    Raises:
        ByolaError: if the disk does not take it.
    """
    about, folder = outcome.about, cell_folder(out, outcome.about)
    try:
        with atomic_folder(folder, overwrite=True) as partial:
            _write_predictions(partial / PREDICTIONS, predictions_of(outcome))
            if outcome.map is not None:
                np.savez(
                    partial / MAP,
                    points=outcome.map.points,
                    paths=_texts(outcome.map.paths.tolist()),
                    labels=_texts(outcome.map.labels.tolist()),
                    method=outcome.map.method,
                )
            if with_tables:
                _write_tables(partial, outcome)
            if len(outcome.problems):
                outcome.problems.write(partial / "unusable-files.csv")
            text = json.dumps(finite({"format": FORMAT, "format_version": FORMAT_VERSION} | about), indent=1)
            (partial / CELL).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise ByolaError(f"cannot write the results to {folder}: {error.strerror or error}") from error
    return folder


def _write_tables(folder: Path, outcome: Outcome) -> None:
    """A class table for each probe, and where a clip has one label a confusion matrix."""
    task = outcome.task
    for result in outcome.results:
        if result.setting:
            continue  # one of a curve: the report draws them together
        tables.write_class_table(folder / f"{result.probe}-classes.csv", task, result)
        if not task.multi_label:
            value = f"accuracy {100 * result.metrics['accuracy'].value:.1f} %"
            title = f"{task.name}, {task.label}: {result.probe}, {value}\n{outcome.entrant.title}"
            counts = tables.mean_confusion(result)
            tables.write_confusion(folder / f"{result.probe}-confusion.png", counts, task.classes, title)


def predictions_of(outcome: Outcome) -> Predictions:
    """What an outcome's results say of the test clips: the same for all of them, those of the task's rounds."""
    tests = outcome.results[0].tests
    clips = [outcome.task.clips[index] for test in tests for index in test]
    return Predictions(
        paths=_texts([str(clip.path.absolute()) for clip in clips]),
        sections=np.asarray([clip.section or (np.nan, np.nan) for clip in clips], dtype=np.float64).reshape(-1, 2),
        rounds=np.repeat(np.arange(len(tests)), [len(test) for test in tests]),
        targets=np.concatenate(outcome.results[0].targets),
        scores=[
            np.stack([np.concatenate(rounds) for rounds in result.scores]).astype(np.float32)
            for result in outcome.results
        ],
    )


def _write_predictions(path: Path, predictions: Predictions) -> None:
    arrays = vars(predictions).copy()
    arrays |= {f"scores_{number}": scores for number, scores in enumerate(arrays.pop("scores"))}
    np.savez(path, **arrays)


def _texts(names: list[str]) -> np.ndarray:
    """Names as an array that needs no pickling; what is not UTF-8 in one is escaped."""
    return np.asarray([name.encode("utf-8", "backslashreplace").decode() for name in names], dtype=np.str_)
