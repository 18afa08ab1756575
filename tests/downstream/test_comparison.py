"""Comparisons in the terminal: the report's own, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from downstream.cells import write_cell
from downstream.comparison import OutcomeCell, print_comparisons
from downstream.evaluate import Outcome
from downstream.protocols.few_shot import FewShotProtocol
from downstream.report.comparisons import compare_all
from downstream.report.study import arrange
from downstream.results import read_cell
from tests.downstream.made import FAST, MadeFeatures, made_task, outcomes_of
from tests.downstream.report.cells import MODEL, OTHER, RANDOM, fake_task, write_fake_cell

GOOD, POOR = MadeFeatures("good", "1" * 16), MadeFeatures("poor", "2" * 16, noise=5.0)
TASK = made_task((("a",), ("b",)), clips=60)


def printed(outcomes: list[Outcome], capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_comparisons(outcomes)
    return capsys.readouterr().out.splitlines()


def as_control(outcome: Outcome, model: str, seed: int) -> Outcome:
    entrant = {"title": "random weights", "control": "random", "model": model, "weight_seed": seed}
    return replace(outcome, about=outcome.about | {"entrant": outcome.about["entrant"] | entrant})


def test_the_better_model_comes_first_by_the_main_result_alone(capsys: pytest.CaptureFixture[str]) -> None:
    few = FewShotProtocol(shots=(1, 2), repeats=2, resamples=10)
    (line,) = printed(outcomes_of(TASK, POOR, GOOD, protocols=[FAST, few]), capsys)
    assert line.startswith("good against poor, logistic: accuracy +") and " points [" in line
    assert line.endswith("(exact McNemar test, Holm): significant") and ", p = 0.0" in line


def test_they_are_those_of_the_report(tmp_path: Path) -> None:
    outcomes = outcomes_of(TASK, POOR, GOOD, MadeFeatures("middling", "3" * 16, noise=0.7))
    said = compare_all(arrange([OutcomeCell(Path("x"), outcome.about, outcome) for outcome in outcomes]), False)
    kept = compare_all(arrange([read_cell(write_cell(tmp_path, outcome)) for outcome in outcomes]), False)
    assert said == kept and [len(pairs) for pairs in said.values()] == [3]


def test_draws_of_one_random_network_are_one_and_two_networks_are_two(capsys: pytest.CaptureFixture[str]) -> None:
    model, *draws = outcomes_of(TASK, GOOD, *(MadeFeatures(f"{n}", f"{n}" * 16, noise=n) for n in (3, 5, 9)))
    controls = [as_control(draw, f"random:{'AAB'[n]}", n) for n, draw in enumerate(draws)]
    lines = printed([model, *controls], capsys)
    assert len(lines) == 2 and all(line.startswith("good against random weights") for line in lines)
    ((pairs),) = compare_all(arrange([OutcomeCell(Path("x"), o.about, o) for o in [model, *controls]]), False).values()
    values = [outcome.results[0].metrics["accuracy"].value for outcome in (model, *draws)]
    found = {pair.second.key[1]: pair.paired.difference for pair in pairs}
    assert found == pytest.approx(
        {"random:A": values[0] - (values[1] + values[2]) / 2, "random:B": values[0] - values[3]}
    )


def test_clips_that_one_could_not_use_are_left_out_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = outcomes_of(TASK, GOOD, MadeFeatures("poor", "2" * 16, noise=5.0, bad=59))
    (line,) = printed(outcomes, capsys)
    assert line.endswith("; 1 clip that not all of them tested left out")


def test_metrics_without_bounds_have_two_decimals_and_what_nobody_can_tell_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = replace(made_task((("x", "y"), ("y",), ("x",)), clips=60), metrics=("d_prime",), multi_label=True)
    (line,) = printed(outcomes_of(task, GOOD, POOR), capsys)
    difference = line.partition("d' ")[2].split()[0]
    assert len(difference.partition(".")[2]) == 2 and "points" not in line
    everywhere = tuple(replace(clip, labels=("x", "y")) if clip.part == "test" else clip for clip in task.clips)
    (line,) = printed(outcomes_of(replace(task, clips=everywhere), GOOD, POOR), capsys)
    assert line.endswith("against poor, logistic: d': no clip can tell") or "poor against good" in line


def test_evaluations_that_do_not_compare_are_passed_over_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def cells(**entrant: Any) -> list[Any]:
        return [write_fake_cell(tmp_path, fake_task(), MODEL | entrant, 3.0)]

    odd = fake_task(classes=[f"another {n}" for n in range(10)])
    every = [*cells(), write_fake_cell(tmp_path, odd, OTHER, 1.0), write_fake_cell(tmp_path, fake_task(), RANDOM, 0.0)]
    (pairs,) = compare_all(arrange(every)).values()
    assert [(pair.first.label, pair.second.label) for pair in pairs] == [("byola-2022", "random weights")]
    assert "not compared: " in (said := capsys.readouterr().err) and "tell different classes apart" in said
    assert np.isfinite([pair.p_adjusted for pair in pairs]).all()
