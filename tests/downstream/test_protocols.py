"""The default protocol: known answers, and nothing of the test part in what is chosen."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from downstream import protocols
from downstream.protocols import DefaultProtocol, StandardisedRows, evaluate_embeddings, one_hot
from downstream.tasks import Clip, Round, Task

FAST = DefaultProtocol(C_grid=(1e-3, 1e-1, 10.0), seeds=(0, 1), resamples=50)


def make_task(parts: list[str], labels: list[str], groups: list[str] | None = None, **options: object) -> Task:
    groups_or_none = groups or [None] * len(parts)  # type: ignore[list-item]
    clips = tuple(
        Clip(Path(f"{i}.wav"), tuple(filter(None, label.split(","))), part, group)
        for i, (part, label, group) in enumerate(zip(parts, labels, groups_or_none, strict=True))
    )
    classes = tuple(sorted({name for clip in clips for name in clip.labels}))
    return Task("made", "label", clips, classes, "given", **options)  # type: ignore[arg-type]


def noisy(task: Task, noise: float, dim: int = 12, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(task.classes), dim))
    clean = one_hot(task).astype(float) @ centres
    return (clean + noise * rng.normal(size=clean.shape)).astype(np.float32)


def folds_task(n: int = 90) -> Task:
    return make_task([str(i % 3) for i in range(n)], ["abc"[(i // 3) % 3] for i in range(n)])


def test_separable_embeddings_score_one_and_noise_scores_chance() -> None:
    task = folds_task(180)
    for result in evaluate_embeddings(task, noisy(task, 0.05), FAST, progress=False):
        assert result.metrics["accuracy"].value == 1.0
    for result in evaluate_embeddings(task, noisy(task, 1e6), FAST, progress=False):
        score = result.metrics["accuracy"]
        assert abs(score.value - 1 / 3) < 0.15
        assert score.low < score.value < score.high


def test_results_have_the_shape_of_seeds_and_folds() -> None:
    task = folds_task()
    logistic, neighbours = evaluate_embeddings(task, noisy(task, 1.0), FAST, progress=False)
    assert (logistic.probe, neighbours.probe) == ("logistic", "knn10")
    assert logistic.seeds == (0, 1) and neighbours.seeds == ()
    assert np.shape(logistic.C) == (2, 3) and set(np.ravel(logistic.C)) <= set(FAST.C_grid)
    assert np.shape(logistic.scores) == (2, 3, 30, 3) and np.shape(neighbours.scores) == (1, 3, 30, 3)
    assert len(logistic.metrics["accuracy"].fold_scores) == 3


def test_an_official_validation_part_leaves_nothing_random() -> None:
    parts = ["train"] * 60 + ["valid"] * 15 + ["test"] * 15
    task = make_task(parts, ["abc"[i % 3] for i in range(90)])
    logistic, _ = evaluate_embeddings(task, noisy(task, 1.0), FAST, progress=False)
    assert logistic.seeds == () and np.shape(logistic.C) == (1, 1)
    assert logistic.metrics["accuracy"].std is None


@pytest.mark.parametrize("parts", [["train"] * 70 + ["test"] * 20, ["train"] * 55 + ["valid"] * 15 + ["test"] * 20])
def test_test_clips_and_labels_change_nothing_but_the_score(parts: list[str]) -> None:
    labels = ["abc"[i % 3] for i in range(90)]
    task = make_task(parts, labels)
    embeddings = noisy(task, 2.0)
    honest, neighbours = evaluate_embeddings(task, embeddings, FAST, progress=False)

    shuffled = labels[:70] + list(np.random.default_rng(0).permutation(labels[70:]))
    other = make_task(parts, shuffled)
    changed, changed_neighbours = evaluate_embeddings(other, embeddings, FAST, progress=False)
    assert changed.C == honest.C
    np.testing.assert_array_equal(changed.scores, honest.scores)
    np.testing.assert_array_equal(changed_neighbours.scores, neighbours.scores)

    moved = embeddings.copy()
    moved[71:] = 1e3  # all test clips but one: its scores must not notice
    with_moved, moved_neighbours = evaluate_embeddings(task, moved, FAST, progress=False)
    assert with_moved.C == honest.C
    np.testing.assert_allclose(with_moved.scores[0][0][0], honest.scores[0][0][0], rtol=1e-5)
    np.testing.assert_allclose(moved_neighbours.scores[0][0][0], neighbours.scores[0][0][0], rtol=1e-5)


def test_C_is_what_does_best_on_the_validation_part() -> None:
    # Labels that are noise given the embeddings want strong regularisation, clean ones of many weak clues weak.
    rng = np.random.default_rng(0)
    parts = ["train"] * 120 + ["valid"] * 120 + ["test"] * 60
    task = make_task(parts, ["ab"[i % 2] for i in range(300)])
    sign = np.where(np.arange(300) % 2 == 0, 1.0, -1.0)[:, None]
    clear = np.hstack([sign * 0.1, 10 * rng.normal(size=(300, 3))]).astype(np.float32)
    clear[:, 1:] += clear[:, :1]
    weak = replace(FAST, C_grid=(1e-6, 100.0))
    assert evaluate_embeddings(task, clear, weak, progress=False)[0].C == ((100.0,),)
    drowned = (sign @ np.ones((1, 300)) + 12 * rng.normal(size=(300, 300))).astype(np.float32)
    assert evaluate_embeddings(task, drowned, weak, progress=False)[0].C == ((1e-6,),)


def test_validation_parts_keep_groups_together(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    choose = protocols.choose_C

    def watched(
        task: Task, inputs: np.ndarray, targets: np.ndarray, train: list[int], valid: list[int], grid: object
    ) -> float:
        seen.append((set(train), set(valid)))
        return choose(task, inputs, targets, train, valid, grid)  # type: ignore[arg-type]

    monkeypatch.setattr(protocols, "choose_C", watched)
    parts, labels = [str(i % 3) for i in range(90)], ["abc"[(i // 3) % 3] for i in range(90)]
    task = make_task(parts, labels, groups=[f"g{i % 18}" for i in range(90)])
    evaluate_embeddings(task, noisy(task, 1.0), FAST, progress=False)
    assert len(seen) == 6
    for train, valid in seen:
        assert train and valid and not train & valid
        assert not {task.clips[i].group for i in train} & {task.clips[i].group for i in valid}
        test_fold = {"0", "1", "2"} - {task.clips[i].part for i in train | valid}
        assert len(test_fold) == 1  # the fold under test is on neither side


def test_several_labels_a_clip() -> None:
    labels = [",".join(name for bit, name in enumerate("abc") if i >> bit & 1) for i in range(160)]
    task = make_task(
        [("train", "train", "valid", "test")[(i // 8) % 4] for i in range(160)],
        labels,
        metrics=("macro_map", "d_prime", "lwlrap"),
        multi_label=True,
    )
    for result in evaluate_embeddings(task, noisy(task, 0.05), FAST, progress=False):
        assert result.metrics["macro_map"].value > 0.97
        assert result.metrics["lwlrap"].value > 0.97
        assert result.metrics["d_prime"].value > 2


def test_seeds_share_what_a_round_is_standardised_by(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.preprocessing import StandardScaler

    fits, fit = [], StandardScaler.fit
    monkeypatch.setattr(StandardScaler, "fit", lambda self, X: fits.append(X.shape) or fit(self, X))
    task = folds_task()
    embeddings = noisy(task, 1.0)
    before = embeddings.copy()
    evaluate_embeddings(task, embeddings, FAST, progress=False)
    assert fits == [(60, 12)] * 3  # once a round, on its training clips
    np.testing.assert_array_equal(embeddings, before)


def test_standardised_rows_equal_sklearns() -> None:
    from sklearn.preprocessing import StandardScaler

    embeddings = np.random.default_rng(0).normal(3, 5, size=(20, 4)).astype(np.float32)
    part = Round("test", list(range(10)), [10, 11], list(range(12, 20)))
    expected = StandardScaler().fit(embeddings[:12]).transform(embeddings)
    rows = StandardisedRows(embeddings, part)
    np.testing.assert_array_equal(rows[part.test], expected[12:])
    assert rows[part.test].dtype == np.float32


@pytest.mark.parametrize(("n_jobs", "threads"), [(1, 8), (3, 2), (8, 1), (20, 1)])
def test_cores_are_shared_between_jobs_and_blas(monkeypatch: pytest.MonkeyPatch, n_jobs: int, threads: int) -> None:
    import threadpoolctl

    limits = []

    def limited(limit: int) -> threadpoolctl.threadpool_limits:
        limits.append(limit)
        return threadpoolctl.ThreadpoolController().limit(limits=1)

    monkeypatch.setattr(threadpoolctl, "threadpool_limits", limited)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    found = protocols._in_threads(lambda number: 2 * number, [(i,) for i in range(n_jobs)], "doubling", False)
    assert found == [2 * i for i in range(n_jobs)]
    assert limits == [threads]


@pytest.mark.parametrize(("lasting", "lines"), [(3600.0, 0), (0.0, 3)])
def test_a_pipe_hears_of_work_that_lasts_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lasting: float, lines: int
) -> None:
    monkeypatch.setattr(protocols, "LASTING_SECONDS", lasting)
    task = folds_task()
    evaluate_embeddings(task, noisy(task, 1.0), FAST)
    assert len(capsys.readouterr().err.splitlines()) == lines
