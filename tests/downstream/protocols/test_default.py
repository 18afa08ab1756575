"""The default protocol: known answers, and nothing of the test part in what is chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from downstream.protocols import ProbeResult, base, default
from downstream.protocols.default import DefaultProtocol
from downstream.protocols.rows import StandardisedRows
from downstream.tasks import Task
from tests.downstream.protocols.made import folds_task, make_task, noisy, tagged_task

FAST = DefaultProtocol(C_grid=(1e-3, 1e-1, 10.0), seeds=(0, 1), resamples=50)


def evaluate_embeddings(task: Task, embeddings: np.ndarray, protocol: DefaultProtocol) -> list[ProbeResult]:
    return protocol.score(task, embeddings, "cpu", False)


def chosen_C(result: ProbeResult) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(choice["C"] for choice in rounds) for rounds in result.chosen)


def test_separable_embeddings_score_one_and_noise_scores_chance() -> None:
    task = folds_task(180)
    for result in evaluate_embeddings(task, noisy(task, 0.05), FAST):
        assert result.metrics["accuracy"].value == 1.0
    for result in evaluate_embeddings(task, noisy(task, 1e6), FAST):
        score = result.metrics["accuracy"]
        assert abs(score.value - 1 / 3) < 0.15
        assert score.low < score.value < score.high


def test_results_have_the_shape_of_seeds_and_folds() -> None:
    task = folds_task()
    logistic, neighbours = evaluate_embeddings(task, noisy(task, 1.0), FAST)
    assert (logistic.probe, neighbours.probe) == ("logistic", "knn10")
    assert logistic.seeds == (0, 1) and neighbours.seeds == ()
    assert np.shape(chosen_C(logistic)) == (2, 3) and set(np.ravel(chosen_C(logistic))) <= set(FAST.C_grid)
    assert np.shape(logistic.scores) == (2, 3, 30, 3) and np.shape(neighbours.scores) == (1, 3, 30, 3)
    assert len(logistic.metrics["accuracy"].fold_scores) == 3


def test_an_official_validation_part_leaves_nothing_random() -> None:
    parts = ["train"] * 60 + ["valid"] * 15 + ["test"] * 15
    task = make_task(parts, ["abc"[i % 3] for i in range(90)])
    logistic, _ = evaluate_embeddings(task, noisy(task, 1.0), FAST)
    assert logistic.seeds == () and np.shape(chosen_C(logistic)) == (1, 1)
    assert logistic.metrics["accuracy"].std is None


@pytest.mark.parametrize("parts", [["train"] * 70 + ["test"] * 20, ["train"] * 55 + ["valid"] * 15 + ["test"] * 20])
def test_test_clips_and_labels_change_nothing_but_the_score(parts: list[str]) -> None:
    labels = ["abc"[i % 3] for i in range(90)]
    task = make_task(parts, labels)
    embeddings = noisy(task, 2.0)
    honest, neighbours = evaluate_embeddings(task, embeddings, FAST)

    shuffled = labels[:70] + list(np.random.default_rng(0).permutation(labels[70:]))
    other = make_task(parts, shuffled)
    changed, changed_neighbours = evaluate_embeddings(other, embeddings, FAST)
    assert chosen_C(changed) == chosen_C(honest)
    np.testing.assert_array_equal(changed.scores, honest.scores)
    np.testing.assert_array_equal(changed_neighbours.scores, neighbours.scores)

    moved = embeddings.copy()
    moved[71:] = 1e3  # all test clips but one: its scores must not notice
    with_moved, moved_neighbours = evaluate_embeddings(task, moved, FAST)
    assert chosen_C(with_moved) == chosen_C(honest)
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
    assert chosen_C(evaluate_embeddings(task, clear, weak)[0]) == ((100.0,),)
    drowned = (sign @ np.ones((1, 300)) + 12 * rng.normal(size=(300, 300))).astype(np.float32)
    assert chosen_C(evaluate_embeddings(task, drowned, weak)[0]) == ((1e-6,),)


def test_validation_parts_keep_groups_together(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, divide = [], default.training_and_validation

    def watched(*arguments: object) -> tuple[list[int], list[int]]:
        train, valid = divide(*arguments)  # type: ignore[arg-type]
        seen.append((set(train), set(valid)))
        return train, valid

    monkeypatch.setattr(default, "training_and_validation", watched)
    parts, labels = [str(i % 3) for i in range(90)], ["abc"[(i // 3) % 3] for i in range(90)]
    task = make_task(parts, labels, groups=[f"g{i % 18}" for i in range(90)])
    evaluate_embeddings(task, noisy(task, 1.0), FAST)
    assert len(seen) == 6
    for train, valid in seen:
        assert train and valid and not train & valid
        assert not {task.clips[i].group for i in train} & {task.clips[i].group for i in valid}
        test_fold = {"0", "1", "2"} - {task.clips[i].part for i in train | valid}
        assert len(test_fold) == 1  # the fold under test is on neither side


def test_several_labels_a_clip() -> None:
    task = tagged_task()
    for result in evaluate_embeddings(task, noisy(task, 0.05), FAST):
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
    evaluate_embeddings(task, embeddings, FAST)
    assert fits == [(60, 12)] * 3  # once a round, on its training clips
    np.testing.assert_array_equal(embeddings, before)


def test_standardised_rows_equal_sklearns() -> None:
    from sklearn.preprocessing import StandardScaler

    embeddings = np.random.default_rng(0).normal(3, 5, size=(20, 4)).astype(np.float32)
    expected = StandardScaler().fit(embeddings[:12]).transform(embeddings)
    rows = StandardisedRows(embeddings, range(12))
    np.testing.assert_array_equal(rows[range(12, 20)], expected[12:])
    assert rows[range(12, 20)].dtype == np.float32


@pytest.mark.parametrize(("lasting", "lines"), [(3600.0, 0), (0.0, 1)])
def test_a_pipe_hears_of_work_that_lasts_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lasting: float, lines: int
) -> None:
    monkeypatch.setattr(base, "LASTING_SECONDS", lasting)
    task = folds_task()
    FAST.score(task, noisy(task, 1.0), "cpu", None)
    assert len(capsys.readouterr().err.splitlines()) == lines
