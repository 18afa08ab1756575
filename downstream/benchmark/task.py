"""One task of a benchmark: every model under every protocol that has not been scored yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from byol_a.errors import ByolaError
from byol_a.words import one_line
from downstream.benchmark.plan import Account, Plan
from downstream.cells import finished_cell, write_cell
from downstream.entrants import Entrant, entrants_for
from downstream.evaluate import Outcome, clips_digest, evaluate, protocols_for
from downstream.features import EmbeddingCache
from downstream.features.rows import ClipRows
from downstream.protocols import EvaluationProtocol
from downstream.suites import FoundTask
from downstream.tasks import Task, load_task


def run_task(plan: Plan, found: FoundTask, say: Callable[[str], None]) -> Account:
    """Everything that one task still lacks; what fails is recorded, and the rest goes on.

    Raises:
        ByolaError: if results cannot be written, which no other task would change.
    """
    account = Account(found)
    try:
        task = load_task(found.name, found.root, split=plan.splits.get(found.name))
        for warning in task.warnings():
            say(f"warning: {warning}")
        task.rounds()
        protocols = plan.protocols_for(task.protocols)
    except ByolaError as error:
        account.failures.append(one_line(error))
        say(f"not scored: {one_line(error)}")
        return account
    worker = _TaskRun(plan, task, account, say)
    for model in plan.models:
        worker.score(model, protocols)
    return account


class _TaskRun:
    """What the models of one task share."""

    def __init__(self, plan: Plan, task: Task, account: Account, say: Callable[[str], None]) -> None:
        self.plan, self.task, self.account, self.say = plan, task, account, say
        self.cache = EmbeddingCache(plan.cache)
        self._seen: set[str] = set()

    def score(self, model: str, protocols: Sequence[EvaluationProtocol]) -> None:
        """Score a model and its controls under the protocols that have not scored them before."""
        plan = self.plan
        try:
            entrants = entrants_for(
                model,
                plan.controls.beside(model, plan.models),
                self.task.clips,
                plan.batch_size,
                plan.device,
                pooling=plan.pooling,
                layer=plan.layer,
                cache=self.cache,
                fast=plan.fast,
            )
        except Exception as error:  # somebody's encoder, a model that went away: the other models go on
            self._record(model, error)
            return
        for entrant in entrants:
            fingerprint = entrant.features.fingerprint()
            if fingerprint in self._seen:
                continue  # the same control beside another model
            self._seen.add(fingerprint)
            own = protocols_for(model, entrant, protocols)
            todo = [protocol for protocol in own if not self.is_finished(entrant, protocol)]
            self.account.kept += len(own) - len(todo)
            # With a cache one protocol at a time, so that an interruption costs no more than one.
            for group in [[protocol] for protocol in todo] if plan.cache else [todo] if todo else []:
                # One map serves every protocol.
                for outcome in self._outcomes(entrant, group, draw_map=group[0] is own[0]):
                    write_cell(plan.out, outcome)
                    self.account.made += 1

    def _outcomes(self, entrant: Entrant, protocols: list[EvaluationProtocol], draw_map: bool) -> list[Outcome]:
        try:
            return evaluate(self.task, entrant, protocols, self.cache, self.plan.device, self.say, draw_map=draw_map)
        except Exception as error:
            self._record(entrant.title, error)
            return []

    def _record(self, model: str, error: Exception) -> None:
        text = one_line(error)
        reason = text if isinstance(error, ByolaError) else f"unexpected {type(error).__name__}: {text}"
        self.account.failures.append(f"{model}: {reason}")
        self.say(f"{model} failed: {reason}")

    def is_finished(self, entrant: Entrant, protocol: EvaluationProtocol) -> bool:
        """Whether the same question was answered before, see `finished_cell`.

        Raises:
            NewerCell: if a newer byol-a answered it.
        """
        return (
            finished_cell(self.plan.out, self.task.name, self._clips_digest, self._data_fingerprint, entrant, protocol)
            is not None
        )

    @cached_property
    def _clips_digest(self) -> str:
        return clips_digest(self.task)

    @cached_property
    def _data_fingerprint(self) -> str:
        return ClipRows(self.task.clips, self.cache).content_fingerprint()
