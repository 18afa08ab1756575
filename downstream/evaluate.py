"""The evaluation itself: a task, the embeddings to compare on it, and what is written about them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from byol_a import __version__
from byol_a.data.report import FileReport
from byol_a.errors import ByolaError
from downstream import report
from downstream.cache import EmbeddingCache, files_fingerprint
from downstream.features import Features, embed_clips
from downstream.metrics import UNBOUNDED_METRICS
from downstream.protocols import DefaultProtocol, ProbeResult, evaluate_embeddings
from downstream.tasks import Task


@dataclass(frozen=True)
class Entrant:
    """An embedding to be scored: the model itself, or a control beside it.

    Attributes:
        control: what kind of control; None for the model that was asked about.
        weight_seed: of random weights.
    """

    title: str
    features: Features
    control: Literal["random", "logmel"] | None = None
    weight_seed: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What one entrant reached. `task` holds the clips that could be used.

    Each of `rows` is a line of scores.jsonl: one metric of one probe. `score` is within 0 and 1; a metric that
    is not (d') has `value` in its place. `ci_low`, `ci_high`, `fold_scores` and `std` are on the same scale.
    """

    entrant: Entrant
    task: Task
    dim: int
    problems: FileReport
    results: list[ProbeResult]
    rows: list[dict[str, Any]]


def evaluate_entrants(
    task: Task,
    entrants: Sequence[Entrant],
    protocol: DefaultProtocol,
    cache: EmbeddingCache,
    say: Callable[[str], None],
) -> list[Outcome]:
    """Embed the task's clips with every entrant and score them; `say` is told what goes on."""
    paths = [clip.path for clip in task.clips]
    data = files_fingerprint(paths)
    outcomes = []
    for entrant in entrants:
        say(f"{entrant.title}: embedding {len(paths):,} clips")
        embeddings, problems = embed_clips(entrant.features, paths, data, cache)
        usable = [index for index, path in enumerate(paths) if path not in problems]
        if len(problems):
            say(f"{entrant.title}: {problems.summary(len(paths))}; left out of the scores")
        left = task.only(usable)
        say(f"{entrant.title}: fitting probes on {embeddings.shape[1]} dimensions")
        results = evaluate_embeddings(left, embeddings[usable], protocol)
        rows = _score_rows(entrant, left, protocol, results, data, len(task.clips))
        outcomes.append(Outcome(entrant, left, embeddings.shape[1], problems, results, rows))
    return outcomes


def _score_rows(
    entrant: Entrant,
    task: Task,
    protocol: DefaultProtocol,
    results: list[ProbeResult],
    data: str,
    n_listed: int,
) -> list[dict[str, Any]]:
    rounds = task.rounds()
    counts = {
        "clips": len(task.clips),
        "unusable": n_listed - len(task.clips),
        "expected": task.expected_clips,
        "classes": len(task.classes),
        "tested": sum(len(part.test) for part in rounds),
        "folds": len(rounds),
    }
    common = {
        "model": entrant.features.name,
        "model_fingerprint": entrant.features.fingerprint(),
        "control": entrant.control,
        "weight_seed": entrant.weight_seed,
        "task": task.name,
        "label": task.label,
        "data_fingerprint": data,
        "protocol": protocol.name,
        "split": task.split,
        "counts": counts,
        "package_version": __version__,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    rows = []
    for result in results:
        for name, score in result.metrics.items():
            key = "value" if name in UNBOUNDED_METRICS else "score"
            rows.append(
                common
                | {"probe": result.probe, "metric": name, key: score.value, "ci_low": score.low, "ci_high": score.high}
                | {"fold_scores": score.fold_scores, "std": score.std}
                | {"seeds": result.seeds, "C": result.C}
            )
    return rows


def table_rows(outcomes: Sequence[Outcome]) -> list[report.TableRow]:
    """The lines of the printed table; several random networks share a line."""
    by_title: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_title.setdefault(outcome.entrant.title, []).append(outcome)
    rows = []
    for title, same in by_title.items():
        name = title if len(same) == 1 else f"{title}, {len(same)} draws"
        for index, result in enumerate(same[0].results):
            every = [outcome.results[index] for outcome in same]
            C = report.describe_C(result) if len(same) == 1 else ""
            rows += [
                report.TableRow(
                    name,
                    same[0].dim,
                    result.probe,
                    metric,
                    tuple(other.metrics[metric] for other in every),
                    C,
                )
                for metric in result.metrics
            ]
    return rows


def write_outcomes(folder: Path, outcomes: Sequence[Outcome]) -> list[Path]:
    """Add rows to `folder/scores.jsonl` and write each entrant's tables and pictures; returns the files.

    The names hold task, label, model (the last two parts of a path), the beginning of its fingerprint and
    probe: evaluating the same again replaces its own files only.
    """
    written = [folder / "scores.jsonl"]
    try:
        # First of all: a picture can be drawn again.
        report.append_scores(written[0], [row for outcome in outcomes for row in outcome.rows])
        for outcome in outcomes:
            task, entrant = outcome.task, outcome.entrant
            stem = _stem(outcome)
            for result in outcome.results:
                written.append(folder / f"{stem}-{result.probe}-classes.csv")
                report.write_class_table(written[-1], task, result)
                if not task.multi_label:
                    written.append(folder / f"{stem}-{result.probe}-confusion.png")
                    value = f"accuracy {100 * result.metrics['accuracy'].value:.1f} %"
                    title = f"{task.name}, {task.label}: {result.probe}, {value}\n{entrant.title}"
                    report.write_confusion(written[-1], report.mean_confusion(result), task.classes, title)
            if len(outcome.problems):
                written.append(folder / f"{stem}-unusable-files.csv")
                outcome.problems.write(written[-1])
    except OSError as error:
        raise ByolaError(f"cannot write the results to {folder}: {error.strerror or error}") from error
    return written


def _stem(outcome: Outcome) -> str:
    task, entrant = outcome.task, outcome.entrant
    name = "/".join(Path(entrant.features.name).parts[-2:])
    seed = [] if entrant.weight_seed is None else [f"seed{entrant.weight_seed}"]
    # Models of the same name differ by their fingerprint, as do controls beside different models.
    fingerprint: str = outcome.rows[0]["model_fingerprint"]
    return report.file_stem(task.name, task.label, name, *seed, fingerprint[:8])
