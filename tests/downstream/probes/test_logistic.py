"""Logistic regression against scikit-learn's minimum, and what must not change it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from downstream.probes import LinearProbe, eigenbasis, lbfgs, logistic, logistic_fits, logistic_path
from tests.downstream.probes.made import blobs, several_labels

GRID = (1e-4, 1e-2, 1.0, 10.0)
EXACT = 1e-8


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def centred(scores: np.ndarray) -> np.ndarray:
    return scores - scores.mean(axis=1, keepdims=True)


def exact(C: float, inputs: np.ndarray, labels: np.ndarray) -> LogisticRegression:
    return LogisticRegression(C=C, solver="newton-cg", tol=1e-10, max_iter=20_000).fit(
        inputs.astype(np.float64), labels
    )


@pytest.mark.parametrize(("n", "dim"), [(120, 10), (60, 60), (30, 200)])
def test_it_is_the_minimum_scikit_learn_finds(n: int, dim: int) -> None:
    inputs, targets = blobs(n, dim)
    fresh, _ = blobs(50, dim, seed=1)
    path = logistic_path(inputs + 0.7, targets, GRID, tolerance=EXACT)
    assert [probe.C for probe in path] == list(GRID)
    for probe in path:
        assert probe.weights.shape == (dim, 4) and probe.weights.dtype == np.float32
        expected = exact(probe.C, inputs + 0.7, targets.argmax(1)).decision_function(fresh)
        np.testing.assert_allclose(centred(probe.scores(fresh)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("small", [True, False])
def test_the_working_tolerance_is_close_to_the_minimum(small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not small:  # single precision, as for large inputs
        monkeypatch.setattr(eigenbasis, "SMALL", 0)
    for n, dim in ((400, 30), (80, 300)):
        inputs, targets = blobs(n, dim)
        fresh, _ = blobs(200, dim, seed=1)
        for probe in logistic_path(inputs, targets, GRID):
            expected = exact(probe.C, inputs, targets.argmax(1)).decision_function(fresh)
            assert np.abs(centred(probe.scores(fresh)) - expected).max() < 1e-2 * expected.std()


@pytest.mark.parametrize(("n", "dim"), [(60, 5), (20, 100)])
def test_two_classes_and_absent_classes(n: int, dim: int) -> None:
    inputs, two = blobs(n, dim, n_classes=2)
    targets = np.zeros((n, 5), dtype=bool)
    targets[:, [1, 3]] = two
    for probe in logistic_path(inputs, targets, (0.1, 1.0), tolerance=EXACT):
        expected = exact(probe.C, inputs, two.argmax(1)).decision_function(inputs)
        scores = probe.scores(inputs)
        np.testing.assert_allclose(scores[:, 3] - scores[:, 1], expected, atol=1e-4)
        assert (scores[:, [0, 2, 4]] == logistic.NEVER).all()
    (only,) = logistic_path(inputs, np.eye(3, dtype=bool)[[2] * n], (1.0,))
    assert set(only.scores(inputs).argmax(1)) == {2}


@pytest.mark.parametrize(("n", "dim"), [(80, 6), (40, 90)])
def test_several_labels_are_one_regression_each(n: int, dim: int) -> None:
    inputs, _ = blobs(n, dim)
    targets = several_labels(n, 4)
    targets[:, 2], targets[:, 3] = False, True
    for probe in logistic_path(inputs, targets, GRID, multi_label=True, tolerance=EXACT):
        scores = probe.scores(inputs)
        for column in (0, 1):
            expected = exact(probe.C, inputs, targets[:, column]).decision_function(inputs)
            np.testing.assert_allclose(scores[:, column], expected, rtol=1e-4, atol=1e-4)
        assert (scores[:, 2] < -100).all() and (scores[:, 3] > 100).all()


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("dim", [12, 150])
def test_jobs_are_what_each_is_on_its_own_clips(dim: int, multi_label: bool) -> None:
    inputs, targets = blobs(100, dim)
    if multi_label:
        targets = several_labels(100, 4)
    targets[:60, 3] = False  # a class that the first job does not have
    if not multi_label:
        targets[:60][~targets[:60].any(axis=1), 0] = True
    few = list(range(3, 11))
    for jobs in ([(range(60), (0.1, 1.0)), (range(20, 100), (10.0,))], [(range(60), (0.1,)), (few, (1.0,))]):
        for (train, grid), path in zip(
            jobs, logistic_fits(inputs, targets, jobs, multi_label, tolerance=EXACT), strict=True
        ):
            alone = logistic_path(inputs[list(train)], targets[list(train)], grid, multi_label, tolerance=EXACT)
            for probe, expected in zip(path, alone, strict=True):
                assert probe.C == expected.C
                difference = probe.scores(inputs) - expected.scores(inputs)
                if not multi_label:  # what all logits have in common is no part of a softmax
                    present = expected.bias > logistic.NEVER / 2
                    assert (probe.bias[~present] == logistic.NEVER).all()
                    difference = centred(difference[:, present])
                np.testing.assert_allclose(difference, 0, atol=2e-4)


def test_the_order_of_the_grid_and_fits_in_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, targets = blobs(150, 20)
    forward = logistic_path(inputs, targets, GRID, tolerance=EXACT)
    monkeypatch.setattr(logistic, "BUDGET", 1)  # one fit after the other, each from where the last one ended
    backward = logistic_path(inputs, targets, GRID[::-1], tolerance=EXACT)
    for one, other in zip(forward, backward[::-1], strict=True):
        assert one.C == other.C
        np.testing.assert_allclose(one.scores(inputs), other.scores(inputs), atol=2e-4)


def test_the_number_of_threads_does_not_show(threads: None) -> None:
    inputs, targets = blobs(3000, 200, n_classes=10)

    def scores(count: int) -> list[np.ndarray]:
        torch.set_num_threads(count)
        return [probe.scores(inputs) for probe in logistic_path(inputs, targets, GRID)]

    for one, two in zip(scores(1), scores(2), strict=True):
        assert np.abs(one - two).max() < 1e-2 * one.std()
        assert (one.argmax(1) == two.argmax(1)).mean() > 0.999


@pytest.mark.parametrize("dim", [8, 100])
def test_awkward_inputs_end_in_finite_weights(dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lbfgs, "MAX_STEPS", 200)
    inputs, targets = blobs(60, dim)
    constant = np.ones_like(inputs)
    twice = np.concatenate([inputs, inputs], axis=1)  # dependent dimensions
    cases = [constant, twice, 1e4 * inputs, 1e-6 * inputs, inputs[:1].repeat(60, axis=0)]
    for case in cases:
        for multi_label in (False, True):
            for probe in logistic_path(case, targets, (1e-4, 1.0, 1e4), multi_label):
                assert np.isfinite(probe.weights).all() and np.isfinite(probe.bias).all()
    for probe in logistic_path(constant, targets, (1.0,)):
        np.testing.assert_allclose(centred(probe.scores(constant)), 0, atol=1e-4)
    for multi_label in (False, True):
        (one,) = logistic_path(inputs[:1], targets[:1], (1.0,), multi_label)
        assert np.isfinite(one.scores(inputs)).all() and set(one.scores(inputs).argmax(1)) == {targets[0].argmax()}


def test_it_leaves_read_only_inputs_alone_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    inputs, targets = blobs(50, 7)
    before = inputs.copy()
    inputs.setflags(write=False)
    (probe,) = logistic_path(inputs, targets, (1.0,))
    assert isinstance(probe, LinearProbe) and not recwarn.list
    np.testing.assert_array_equal(inputs, before)


@pytest.mark.gpu
def test_the_gpu_finds_the_same() -> None:
    inputs, targets = blobs(5000, 300)
    for here, there in zip(
        logistic_path(inputs, targets, GRID), logistic_path(inputs, targets, GRID, device="cuda"), strict=True
    ):
        assert np.abs(here.scores(inputs) - there.scores(inputs)).max() < 1e-2 * here.scores(inputs).std()
