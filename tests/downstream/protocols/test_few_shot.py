"""Few-shot and label-fraction curves: what is drawn, and that more labels help."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from byol_a.errors import ByolaError
from downstream.protocols import one_hot
from downstream.protocols.few_shot import FewShotProtocol, draw_shots
from downstream.protocols.label_fraction import LabelFractionProtocol, draw_fraction
from tests.downstream.protocols.made import MadeSource, folds_task, make_task, noisy, parts_task, tagged_task


def test_k_clips_of_each_class_are_drawn_from_the_training_part() -> None:
    task = parts_task(240)
    (part,) = task.rounds()
    targets, train = one_hot(task), np.asarray(part.train)
    draws = [draw_shots(targets, train, 3, np.random.default_rng(seed)) for seed in range(20)]
    for drawn in draws:
        assert set(drawn) <= set(part.train) and len(set(drawn)) == len(drawn)
        assert Counter(task.clips[i].labels for i in drawn) == {("a",): 3, ("b",): 3, ("c",): 3}
    assert len({tuple(drawn) for drawn in draws}) == 20
    assert draw_shots(targets, train, 3, np.random.default_rng(1)) == draws[1]
    assert set(draws[1]) <= set(draw_shots(targets, train, 5, np.random.default_rng(1)))
    assert draw_shots(targets, train, 1000, np.random.default_rng(1)) == sorted(part.train)


def test_every_label_of_several_is_there_k_times_at_least() -> None:
    task = tagged_task()
    (part,) = task.rounds()
    targets = one_hot(task)
    drawn = draw_shots(targets, np.asarray(part.train), 4, np.random.default_rng(0))
    assert (targets[drawn].sum(axis=0) >= 4).all()


@pytest.mark.parametrize("make", [parts_task, folds_task, tagged_task])
def test_scores_rise_with_the_shots(make: object) -> None:
    task = make(240)  # type: ignore[operator]
    protocol = FewShotProtocol(shots=(1, 4, 16), repeats=6, resamples=20)
    results = protocol.run(task, MadeSource(noisy(task, 1.3)), "cpu", False)  # type: ignore[arg-type]
    assert [result.setting for result in results] == [{"shots": 16}, {"shots": 4}, {"shots": 1}]
    scores = [result.metrics[task.metrics[0]].value for result in results]
    assert scores[0] > scores[1] > scores[2] > 0.4
    assert all(len(result.scores) == 6 and result.seeds == (0, 1, 2, 3, 4, 5) for result in results)
    assert results[0].title == "logistic, shots 16"


def test_a_fraction_is_of_each_class_alike_and_at_least_two() -> None:
    task = parts_task(400)
    (part,) = task.rounds()
    targets = one_hot(task)
    assert draw_fraction(part, targets, 1, seed=0) == part
    tenth, third = (draw_fraction(part, targets, fraction, seed=0) for fraction in (0.1, 0.3))
    assert tenth.test == part.test
    for name in ("train", "valid"):
        whole, few, more = (getattr(every, name) for every in (part, tenth, third))
        assert set(few) <= set(more) <= set(whole)
        counts = targets[few].sum(axis=0)
        assert (counts == np.maximum(np.round(0.1 * targets[whole].sum(axis=0)), 2)).all()
    tiny = draw_fraction(part, targets, 0.001, seed=0)
    assert (targets[tiny.train].sum(axis=0) == 2).all()
    assert draw_fraction(part, targets, 0.1, seed=1) != tenth


@pytest.mark.parametrize("make", [parts_task, folds_task])
def test_scores_rise_with_the_labels(make: object) -> None:
    task = make(600)  # type: ignore[operator]
    protocol = LabelFractionProtocol(fractions=(0.02, 1.0), C_grid=(1e-2, 1.0), seeds=(0, 1), resamples=20)
    all_of_it, few = protocol.run(task, MadeSource(noisy(task, 1.5)), "cpu", False)  # type: ignore[arg-type]
    assert all_of_it.setting == {"fraction": 1.0} and few.setting == {"fraction": 0.02}
    assert all_of_it.metrics["accuracy"].value > few.metrics["accuracy"].value + 0.03
    assert all(choice["C"] in (1e-2, 1.0) for rounds in few.chosen for choice in rounds)
    assert few.chosen[0][0]["train_clips"] < 0.05 * 600


def test_a_repeat_is_what_its_seed_draws() -> None:
    task = parts_task(120)
    source, protocol = MadeSource(noisy(task, 1.0)), FewShotProtocol(shots=(2,), repeats=3, seed=5, resamples=5)
    (result,) = protocol.run(task, source, "cpu", False)  # type: ignore[arg-type]
    (alone,) = replace(protocol, repeats=1, seed=6).run(task, source, "cpu", False)  # type: ignore[arg-type]
    assert result.seeds == (5, 6, 7) and alone.seeds == (6,)
    np.testing.assert_array_equal(alone.scores[0][0], result.scores[1][0])


def test_all_clips_beside_a_validation_part_of_the_sets_own_are_fitted_once() -> None:
    task = parts_task(120)
    protocol = LabelFractionProtocol(fractions=(1.0, 0.3), seeds=(0, 1), resamples=5)
    whole, few = protocol.run(task, MadeSource(noisy(task, 1.0)), "cpu", False)  # type: ignore[arg-type]
    assert whole.seeds == () and len(whole.scores) == 1 and whole.metrics["accuracy"].std is None
    assert few.seeds == (0, 1) and len(few.scores) == 2
    folds = folds_task(90)
    whole, _ = protocol.run(folds, MadeSource(noisy(folds, 1.0)), "cpu", False)  # type: ignore[arg-type]
    assert whole.seeds == (0, 1)  # what is held out is drawn


@pytest.mark.parametrize("protocol", [FewShotProtocol(), LabelFractionProtocol()])
def test_without_a_labelled_training_clip_there_is_nothing_to_draw(protocol: object) -> None:
    task = make_task(["train"] * 6 + ["test"] * 2, [""] * 6 + ["a", "b"], metrics=("macro_map",), multi_label=True)
    with pytest.raises(ByolaError, match="made has no labelled clip to train on"):
        protocol.run(task, MadeSource(noisy(task, 1.0)), "cpu", False)  # type: ignore[attr-defined]
