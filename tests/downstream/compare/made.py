"""Rows of a comparison that never took place."""

from __future__ import annotations

from downstream.compare.contestants import Contestant
from downstream.compare.measures import Measures
from downstream.compare.plan import Cost
from downstream.compare.runs import RunRecord
from downstream.compare.scoring import TaskScore
from downstream.compare.summary import Budget, Row, SeedResult
from tests.training.small import values

TASKS = {"fsdd": "FSDD, digit", "esc10": "ESC-10"}
BUDGET = Budget(640, (0, 1), 27, 3, 0.5, TASKS, "a_b", "2 CPU threads", {"fsdd": 100, "esc10": 1})


def contestant(label: str, control: bool = False) -> Contestant:
    from byol_a.config import build
    from byol_a.training.config import PretrainConfig

    config = build(PretrainConfig, values() | {"training": {"batch_size": 8, "steps": 80}}, label)
    return Contestant(label, label, config, control)


def run(fsdd: float, esc10: float, collapse: float = 0.9) -> SeedResult:
    scores = {
        task: TaskScore("accuracy", {"accuracy": value, "ece": 0.25, "brier": None}, value / 2)
        for task, value in (("fsdd", fsdd), ("esc10", esc10))
    }
    return SeedResult(RunRecord("trained", Measures(12.0, collapse, 0.5, -2.0)), scores)


def rows() -> list[Row]:
    """A good one, one that diverged, one that collapsed once and failed once, and a control."""
    diverged = SeedResult(RunRecord("diverged", None, "the loss became nan at step 3"))
    return [
        Row(contestant("a_b"), Cost(0.5, 1.0, "a_b", False), {0: run(0.6, 0.8), 1: run(0.7, 0.9)}),
        Row(contestant("gone"), Cost(0.5, 1.25, "a_b", True), {0: diverged, 1: diverged}),
        Row(contestant("flat"), Cost(0.5, 1.1, "a_b", False), {0: run(0.2, 0.2, 0.01), 1: SeedResult(failure="boom")}),
        Row(contestant("random weights", control=True), None, {0: run(0.5, 0.5)}),
    ]
