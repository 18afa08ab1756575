"""The comparison itself: every recipe with every seed trained, measured and scored, what is finished left alone."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from byol_a import BYOLA
from byol_a.errors import ByolaError
from byol_a.files import FULL_DISK
from byol_a.interrupt import Interrupted, interruptible
from byol_a.lock import WriterLock
from byol_a.training.distributed import Processes
from byol_a.training.pretrain import total_steps
from byol_a.training.run_folder import RunFolder
from byol_a.words import counted, one_line
from downstream.compare.clock import Clock
from downstream.compare.contestants import Contestant, choose_baseline, controls_for
from downstream.compare.corpus import Corpus
from downstream.compare.picture import draw_comparison
from downstream.compare.plan import begin_plan, claim, measured_costs, refuse_strangers
from downstream.compare.report import PICTURE, cell, write_reports
from downstream.compare.runs import RunRecord, finish_run, read_record
from downstream.compare.scoring import Scorer
from downstream.compare.summary import Budget, Row, SeedResult, columns_for
from downstream.outputs import prepare
from downstream.tasks import Task

RUNS, SOUNDS = "runs", "sounds"


@dataclass(frozen=True)
class Comparison:
    """What is asked for.

    Attributes:
        contestants: recipes and variants.
        data: what to learn from, see `Corpus`.
        tasks: what to score on.
        baseline: label of what costs are relative to; None for the usual choice, see `reference_of`.
        clips: that each contestant is to see, as `contestants` say already; None for the recipes' own lengths.
    """

    contestants: Sequence[Contestant]
    data: Sequence[Path]
    tasks: Sequence[Task]
    seeds: Sequence[int]
    out: Path
    clips: int | None = None
    baseline: str | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    keep_checkpoints: bool = False


def run_comparison(asked: Comparison, say: Callable[[str], None]) -> tuple[list[Row], Budget]:
    """Do what is not done yet in `asked.out`, and write its reports there after every run.

    A run that diverges, collapses or fails in another way is noted in its row, and the others go on.

    Raises:
        UsageError: for what could not be right, before anything is trained.
        Interrupted: after SIGINT or SIGTERM; the same call goes on.
        ByolaError: if the data cannot be used, or nothing can be written (any more).
    """
    choose_baseline(asked.contestants, asked.baseline)
    refuse_strangers(asked.out)
    prepare(asked.out)
    refusal = f"another comparison is writing to {asked.out}; wait for it, or give another --out"
    stopped = f"stopped; {asked.out} keeps what is finished, and the same command goes on"
    with WriterLock(asked.out / ".lock", refusal), interruptible(stopped):
        try:
            begin_plan(asked.out)
            return _Runner(asked, say).run()
        except Exception as error:
            if (cause := _disk_error(error)) is None:
                raise
            where = f" ({cause.filename})" if cause.filename else ""
            raise ByolaError(
                f"nothing can be written any more: {cause.strerror}{where}; {asked.out} keeps what is finished: make "
                "room, and the same command goes on"
            ) from error


class _Runner:
    """A comparison under way."""

    def __init__(self, asked: Comparison, say: Callable[[str], None]) -> None:
        self.asked, self.say = asked, say
        self.processes = Processes(0, 1, asked.device)
        self.corpus = Corpus(asked.data, asked.out / SOUNDS, asked.device, say)
        contestants = [self._in_steps(contestant) for contestant in asked.contestants]
        baseline = choose_baseline(contestants, asked.baseline)
        in_front = [baseline, *(each for each in contestants if each is not baseline)]
        self.everybody = [*contestants, *controls_for(in_front)]
        rates = {each.config.frontend.sample_rate for each in contestants}
        claim(asked.out, self.everybody, {str(rate): self.corpus.fingerprint(rate) for rate in sorted(rates)})
        if len(contestants) > 1:
            say(f"a step of {counted(len(contestants) - 1, 'recipe')} is timed beside one of {baseline.label}")
        costs = measured_costs(asked.out, contestants, baseline, asked.device, asked.baseline is not None, say)
        self.rows = [Row(each, costs.get(each.label)) for each in self.everybody]
        self.scorer = Scorer(asked.tasks, asked.out, str(asked.device))
        self.budget = self._budget(baseline)
        self.clock = Clock(len(asked.seeds) * len(self.everybody))

    def run(self) -> tuple[list[Row], Budget]:
        """Every seed of everybody; the untrained first, for they show soonest what is wrong."""
        self._read_finished()
        self._write()
        for seed in self.asked.seeds:
            for row in sorted(self.rows, key=lambda row: not row.contestant.control):
                self._run(row, seed)
                self._write()
            draw_comparison(self.asked.out / PICTURE, self.rows, self.budget)
            self._write()  # now there is a picture to speak of
        return self.rows, self.budget

    def _write(self) -> None:
        write_reports(self.asked.out, self.rows, self.budget)

    def _read_finished(self) -> None:
        """Fill rows from what earlier calls finished, so that reports never hold less than before."""
        for row in self.rows:
            for seed in self.asked.seeds:
                folder = self._folder(row, seed)
                try:
                    if (record := read_record(folder)) is None:
                        continue
                    row.runs[seed] = SeedResult(record)
                    if record.outcome != "diverged":
                        model = BYOLA.from_pretrained(str(RunFolder(folder).model))
                        row.runs[seed] = SeedResult(record, self.scorer.finished(row.contestant, seed, model))
                except ByolaError:  # said where the run's turn comes
                    continue

    def _folder(self, row: Row, seed: int) -> Path:
        return self.asked.out / RUNS / row.contestant.folder / f"seed-{seed}"

    def _run(self, row: Row, seed: int) -> None:
        contestant = row.contestant
        training, name = contestant.config.training, f"{contestant.label}, seed {seed}"
        expected = 0.0 if row.cost is None else row.cost.seconds * (training.steps or 0)
        what = "" if contestant.control else f": {training.steps} steps of {training.batch_size} clips"
        self.clock.begin(expected)
        self.say(f"[{self.clock.number}/{self.clock.total}] {name}{what}")
        folder = self._folder(row, seed)
        try:
            record = finish_run(contestant, seed, folder, self.corpus, self.processes, self.asked.keep_checkpoints)
            row.runs[seed] = replace(row.runs.get(seed, SeedResult()), record=record)
            if not row.runs[seed].is_over(self.budget.tasks):
                row.runs[seed] = self._scored(contestant, seed, folder, record)
        except Interrupted as stop:
            again = f"stopped in {name}, everything is saved; the same command goes on"
            raise Interrupted(again, stop.exit_code - 128) from stop
        except Exception as error:  # another recipe may do better
            if _disk_error(error) is not None:  # but not there
                raise
            words = _words(error)
            row.runs[seed] = replace(row.runs.get(seed, SeedResult()), failure=words)
            self.say(f"{name} failed: {words}")
        self.clock.end()
        self.say(f"    {self._outcome(row, seed)}; {self.clock.describe(self._still_expected())}")

    def _scored(self, contestant: Contestant, seed: int, folder: Path, record: RunRecord) -> SeedResult:
        """The run with its scores on all tasks that do not fail."""
        failures: list[str] = []

        def note(task: str, error: Exception) -> None:
            if _disk_error(error) is not None:
                raise error
            failures.append(f"{task}: {_words(error)}")
            self.say(f"{contestant.label}, seed {seed} failed on {failures[-1]}")

        model = BYOLA.from_pretrained(str(RunFolder(folder).model))
        return SeedResult(record, self.scorer.score(contestant, seed, model, note), "; ".join(failures))

    def _outcome(self, row: Row, seed: int) -> str:
        alone = Row(row.contestant, row.cost, {seed: row.runs[seed]})
        shown = [f"{column.title} {cell(alone, column)}" for column in columns_for(list(self.budget.tasks))]
        return ", ".join([*shown[:-2], *([alone.note] if alone.note else [])])

    def _still_expected(self) -> list[float]:
        """Seconds of training that each run to come is expected to take, as step costs have it."""
        return [
            0.0 if row.cost is None else row.cost.seconds * (row.contestant.config.training.steps or 0)
            for row in self.rows
            for seed in self.asked.seeds
            if seed not in row.runs or not row.runs[seed].is_over(self.budget.tasks)
        ]

    def _in_steps(self, contestant: Contestant) -> Contestant:
        """The contestant with its length in steps: how many make an epoch is known here."""
        config = contestant.config
        clips = len(self.corpus.training_clips(config))
        optimizer = config.optimizer.in_steps(clips / config.training.batch_size)
        training = replace(config.training, steps=total_steps(config, clips))
        return replace(contestant, config=replace(config, training=training, optimizer=optimizer))

    def _budget(self, baseline: Contestant) -> Budget:
        rate = baseline.config.frontend.sample_rate
        store, cuda = self.corpus.store(rate), self.asked.device.type == "cuda"
        return Budget(
            clips=self.asked.clips,
            seeds=tuple(self.asked.seeds),
            learned=len(self.corpus.training_clips(baseline.config)),
            held_out=len(self.corpus.held_out_rows(rate)),
            hours=int(store.lengths.sum()) / rate / 3600,
            tasks={task.name: task.title or task.name for task in self.asked.tasks},
            baseline=baseline.label,
            device=torch.cuda.get_device_name(self.asked.device)
            if cuda
            else counted(torch.get_num_threads(), "CPU thread"),
            tested={task.name: sum(len(part.test) for part in task.rounds()) for task in self.asked.tasks},
            warnings=[f"{task.name}: {line}" for task in self.asked.tasks for line in task.warnings()],
        )


def _words(error: Exception) -> str:
    """What an error says; of one that nobody worded, what it is besides."""
    return one_line(error) if isinstance(error, ByolaError) else f"{type(error).__name__}: {one_line(error)}"


def _disk_error(error: BaseException) -> OSError | None:
    """What says that nothing can be written any more, among an error and its causes: full, over quota, read-only."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        if isinstance(cause, OSError) and cause.errno in (*FULL_DISK, errno.EROFS):
            return cause
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
    return None
