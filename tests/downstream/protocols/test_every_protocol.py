"""What holds for every protocol on embeddings: no label leaks, and awkward sets are scored like any other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from downstream.protocols import EvaluationProtocol, ProbeResult, make_protocol
from downstream.protocols.base import validation_value
from downstream.protocols.rows import training_and_validation
from downstream.tasks import Task
from tests.downstream.protocols.made import MadeSource, make_task, noisy, parts_task

FEW = {"resamples": 5}
PROTOCOLS: list[EvaluationProtocol] = [
    make_protocol(name, {**settings, **FEW})
    for name, settings in (
        ("default", {"C_grid": [0.01, 1.0], "seeds": [0]}),
        ("evar", {"lr": 1e-1, "max_epochs": 20, "batch_size": 16, "seeds": [42]}),
        ("hear", {"lrs": [1e-2], "max_epochs": 8, "hidden_dim": 16}),
        ("few-shot", {"shots": [5], "repeats": 2}),
        ("label-fraction", {"fractions": [0.5], "seeds": [0]}),
    )
]
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
OFFICIAL = ["train"] * 60 + ["valid"] * 30 + ["test"] * 30
DRAWN = ["train"] * 90 + ["test"] * 30


def run(protocol: EvaluationProtocol, task: Task, embeddings: np.ndarray) -> list[ProbeResult]:
    return protocol.run(task, MadeSource(embeddings), "cpu", False)  # type: ignore[arg-type]


@every_protocol
@pytest.mark.parametrize("parts", [OFFICIAL, DRAWN], ids=["official validation", "drawn"])
def test_test_labels_change_nothing_but_the_score(protocol: EvaluationProtocol, parts: list[str]) -> None:
    labels = ["abc"[i % 3] for i in range(120)]
    shuffled = labels[:90] + list(np.random.default_rng(1).permutation(labels[90:]))
    embeddings = noisy(make_task(parts, labels), 1.0)
    honest, other = (run(protocol, make_task(parts, every), embeddings) for every in (labels, shuffled))
    for one, changed in zip(honest, other, strict=True):
        np.testing.assert_array_equal(one.scores, changed.scores)
        assert one.chosen == changed.chosen
        assert one.metrics["accuracy"].value > changed.metrics["accuracy"].value


@every_protocol
def test_a_class_without_training_clips_is_never_recognised_and_harms_no_other(protocol: EvaluationProtocol) -> None:
    labels = ["ab"[i % 2] for i in range(90)] + ["abc"[i % 3] for i in range(30)]
    task = make_task(DRAWN, labels)
    for result in run(protocol, task, noisy(task, 0.05)):
        assert result.metrics["accuracy"].value == pytest.approx(2 / 3) == result.metrics["balanced_accuracy"].value
        assert all(np.isfinite(scores).all() for of_seed in result.scores for scores in of_seed)


@every_protocol
@pytest.mark.parametrize("dim", [6, 200])
def test_equal_embeddings_score_as_chance_has_it(protocol: EvaluationProtocol, dim: int) -> None:
    task = parts_task(120)
    for result in run(protocol, task, np.ones((120, dim), dtype=np.float32)):
        assert result.metrics["accuracy"].value == pytest.approx(1 / 3, abs=0.01)


@every_protocol
def test_groups_that_are_the_classes_leave_something_to_choose_on(
    protocol: EvaluationProtocol, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ["abcd"[i % 4] for i in range(120)]
    task = replace(make_task(DRAWN, labels, groups=[f"group {name}" for name in labels]), name=protocol.name)
    for result in run(protocol, task, noisy(task, 0.1)):
        assert result.metrics["accuracy"].value > 0.9
    said = capsys.readouterr().err.count(f"groups of {protocol.name} tell its classes")
    assert said == (protocol.name != "few-shot")  # which holds nothing out


def test_groups_that_are_not_the_classes_stay_whole() -> None:
    labels = ["abcd"[i % 4] for i in range(120)]
    task = make_task(DRAWN, labels, groups=[f"{i % 7}" for i in range(120)])
    train, valid = training_and_validation(task, task.rounds()[0], 0, 0.1)
    assert not {task.clips[i].group for i in train} & {task.clips[i].group for i in valid}


def test_validation_is_by_the_tasks_own_metric_and_what_nobody_can_tell_is_worst() -> None:
    task = parts_task(12)
    targets: Any = np.eye(3, dtype=bool)[[0, 1, 2]]
    assert validation_value(task, np.eye(3), targets) == 1.0
    assert validation_value(task, np.full((3, 3), np.nan), targets) == -np.inf
    ranking = replace(task, metrics=("macro_map",), multi_label=True)
    assert validation_value(ranking, np.eye(3), np.zeros((3, 3), dtype=bool)) == -np.inf
