"""Scoring the models of a comparison on its tasks, each finished score a cell on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from byol_a.errors import ByolaError, UsageError
from byol_a.interrupt import Interrupted
from byol_a.words import one_line
from downstream.cells import finished_cell, write_cell
from downstream.compare.contestants import Contestant
from downstream.compare.features import ComparedFeatures, SharedAudio
from downstream.entrants import Entrant
from downstream.evaluate import clips_digest, evaluate
from downstream.features import EmbeddingCache
from downstream.features.digests import FileDigests
from downstream.features.rows import ClipRows
from downstream.protocols import EvaluationProtocol, make_protocol
from downstream.results import finite
from downstream.suites import find_tasks, suite_tasks
from downstream.tasks import Task, load_task

if TYPE_CHECKING:
    from byol_a import BYOLA

PROTOCOL = "default"


@dataclass(frozen=True)
class TaskScore:
    """A model on a task: the logistic regression's metrics, the task's own first, and the neighbours' own one.

    All are fractions of 1 (d' is not); None where nothing could be told.
    """

    metric: str
    logistic: dict[str, float | None]
    neighbours: float | None

    @property
    def value(self) -> float | None:
        """The task's own metric."""
        return self.logistic[self.metric]


class NothingKept(EmbeddingCache):
    """Keeps no embeddings, but the digests of files, which each evaluation asks for."""

    def __init__(self) -> None:
        super().__init__(None)
        self._digests: dict[tuple[Path, ...], FileDigests] = {}

    def digests(self, paths: Sequence[Path], progress: bool | None = None) -> FileDigests:
        """See `EmbeddingCache`; files are read once."""
        if tuple(paths) not in self._digests:
            self._digests[tuple(paths)] = super().digests(paths, progress)
        return self._digests[tuple(paths)]


class ScoredTask:
    """A task under the default protocol, and what its cells are recognised by.

    Attributes:
        digest: of what is asked of which clip.
        data_fingerprint: of the audio.
    """

    def __init__(self, task: Task, cache: EmbeddingCache) -> None:
        self.task = task
        self.protocol: EvaluationProtocol = make_protocol(PROTOCOL, task.protocols.get(PROTOCOL, {}))
        self.digest = clips_digest(task)
        self.data_fingerprint = ClipRows(task.clips, cache).content_fingerprint()


class Scorer:
    """Scores one model after the other on the same tasks.

    Args:
        tasks: what to score on.
        out: below which cells are written and looked for.
        device: where clips are embedded and probes fitted.
    """

    def __init__(self, tasks: Sequence[Task], out: Path, device: str) -> None:
        self._cache = NothingKept()
        self.tasks = [ScoredTask(task, self._cache) for task in tasks]
        self._out, self._device = out, device
        self._audio = SharedAudio()

    def score(
        self, contestant: Contestant, seed: int, model: BYOLA, on_failure: Callable[[str, Exception], None]
    ) -> dict[str, TaskScore]:
        """The model's scores by task; those that were written before are read.

        Args:
            on_failure: is told of a task that fails (an embedding is not finite, none of its clips can be used, a
                cell cannot be written) and of the error, which it may raise; the others are scored all the same.

        Raises:
            Interrupted: after SIGINT or SIGTERM; finished scores are kept.
        """
        entrant, scores = self._entrant(contestant, seed, model), {}
        for scored in self.tasks:
            try:
                scores[scored.task.name] = self._finished(scored, entrant) or self._score(scored, entrant)
            except Interrupted:
                raise
            except Exception as error:  # another task may do better
                on_failure(scored.task.name, error)
        return scores

    def finished(self, contestant: Contestant, seed: int, model: BYOLA) -> dict[str, TaskScore]:
        """Those of the model's scores that were written before, by task."""
        entrant = self._entrant(contestant, seed, model)
        found = {scored.task.name: self._finished(scored, entrant) for scored in self.tasks}
        return {task: score for task, score in found.items() if score is not None}

    def _entrant(self, contestant: Contestant, seed: int, model: BYOLA) -> Entrant:
        # Labels of controls change with what they stand beside, their folders do not.
        features = ComparedFeatures(f"{contestant.folder}/seed-{seed}", model, self._audio, self._device)
        title, control = f"{contestant.label}, seed {seed}", contestant.control
        return Entrant(title, features, "random" if control else None, seed if control else None)

    def _finished(self, scored: ScoredTask, entrant: Entrant) -> TaskScore | None:
        asked = scored.task.name, scored.digest, scored.data_fingerprint
        cell = finished_cell(self._out, *asked, entrant, scored.protocol)
        return None if cell is None else _score_of(cell.about)

    def _score(self, scored: ScoredTask, entrant: Entrant) -> TaskScore:
        task, protocol = scored.task, scored.protocol
        (outcome,) = evaluate(task, entrant, [protocol], self._cache, self._device, lambda line: None, progress=False)
        write_cell(self._out, outcome, with_tables=False)
        return _score_of(outcome.about)


def load_tasks(names: Sequence[str], roots: Sequence[Path], say: Callable[[str], None]) -> list[Task]:
    """The tasks whose sets are found below some folders; `say` is told what a reader of the scores must know.

    Args:
        names: tasks and suites; every task there is if empty.

    Raises:
        UsageError: for an unknown name, or a task asked for by name whose set is not there.
        ByolaError: if no set is found, or one asked for by name cannot be scored; others are left out then.
    """
    search = find_tasks(suite_tasks(",".join(names) or "all"), roots, {})
    for name in names:
        if name in search.missing:
            raise UsageError(f"the set of the task {name} is not there: {search.missing[name]}")
    if not search.found:
        where = ", ".join(map(str, roots))
        raise UsageError(
            f"no labelled set is found in {where}, so there is nothing to score on; say where with --task-data "
            "(`byol-a tasks` says what each looks like)"
        )
    for note in search.notes:
        say(f"note: {note}")
    tasks = []
    for found in search.found:
        try:
            task = load_task(found.name, found.root)
            task.rounds()
        except ByolaError as error:
            if names:
                raise
            say(f"note: {found.name} is left out: {one_line(error)}")
            continue
        for line in task.warnings():
            say(f"note: {task.name}: {line}")
        tasks.append(task)
    if not tasks:
        raise ByolaError("none of the labelled sets that are found can be scored, as said above; mend one")
    return tasks


def _score_of(about: dict[str, Any]) -> TaskScore:
    logistic, neighbours = (finite(result["metrics"]) for result in about["results"])
    metric = about["task"]["metrics"][0]
    return TaskScore(metric, {name: score["value"] for name, score in logistic.items()}, neighbours[metric]["value"])
