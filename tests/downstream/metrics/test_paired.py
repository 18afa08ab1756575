"""Two models on the same clips: intervals, the choice of the test, and cells matched clip by clip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from byol_a.errors import UsageError
from downstream.metrics import METRICS, Paired, accuracy, compare, compare_cells, score_folds
from downstream.metrics.paired import MCNEMAR, PERMUTATION
from downstream.results import CELL, FORMAT, FORMAT_VERSION, PREDICTIONS, Cell, read_cell
from tests.downstream.metrics.made import CLASSES, many_labels, one_label


def test_the_difference_is_that_of_the_scores_with_an_interval_as_theory_has_it() -> None:
    a, targets = one_label(2000)
    b = a + 0.7 * np.random.default_rng(5).normal(size=a.shape)
    found = compare(accuracy, [[a]], [[b]], [targets], CLASSES, resamples=2000)
    value_a, value_b = (score_folds(accuracy, [[scores]], [targets], CLASSES, 10).value for scores in (a, b))
    assert found.difference == pytest.approx(value_a - value_b)
    each = (a.argmax(1) == targets.argmax(1)) - 1.0 * (b.argmax(1) == targets.argmax(1))
    half = 1.96 * each.std() / np.sqrt(2000)
    assert (found.low, found.high) == pytest.approx((found.difference - half, found.difference + half), abs=0.002)
    assert found.clips == 2000 and found.test == MCNEMAR
    # Clip by clip less varies than between two sets of clips.
    alone = score_folds(accuracy, [[a]], [targets], CLASSES)
    assert found.high - found.low < alone.high - alone.low


def test_swapping_the_models_turns_the_sign() -> None:
    (a, b), targets = many_labels(models=2)
    one = compare(METRICS["macro_map"], [[a]], [[b]], [targets], CLASSES, 200)
    other = compare(METRICS["macro_map"], [[b]], [[a]], [targets], CLASSES, 200)
    assert (one.difference, one.low, one.high) == pytest.approx((-other.difference, -other.high, -other.low))
    assert one.p_value == pytest.approx(other.p_value)


def test_several_seeds_have_the_permutation_test() -> None:
    a, targets = one_label()
    found = compare(accuracy, [[a], [a]], [[a]], [targets], CLASSES, 50)
    assert found == Paired(0, 0, 0, 1, PERMUTATION, 300)


def test_folds_of_different_sizes_have_the_permutation_test() -> None:
    # The mean over folds is higher, all clips together speak for the other: McNemar's would be of another difference.
    def right(flags: list[bool]) -> np.ndarray:
        return np.eye(6)[[0 if flag else 1 for flag in flags]]

    a = [right([True] * 10), right([True] * 500 + [False] * 500)]
    b = [right([False] * 5 + [True] * 5), right([True] * 560 + [False] * 440)]
    targets = [np.eye(6, dtype=bool)[[0] * n] for n in (10, 1000)]
    found = compare(accuracy, [a], [b], targets, CLASSES)
    assert found.difference == pytest.approx((0.5 - 0.06) / 2)
    assert found.test == PERMUTATION and found.p_value > 0.01
    even = compare(accuracy, [[a[0], a[0]]], [[b[0], b[0]]], [targets[0]] * 2, CLASSES)
    assert even.test == MCNEMAR


def test_a_model_against_itself_differs_by_nothing() -> None:
    (a,), targets = many_labels()
    for name in ("macro_map", "d_prime", "lwlrap", "binary_ece", "binary_brier"):
        found = compare(METRICS[name], [[a]], [[a]], [targets], CLASSES, 50)
        assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def write_cell(folder: Path, task: dict[str, Any] | None = None, **predictions: np.ndarray) -> Cell:
    """A cell of 60 clips in three rounds, two to each file; what is given replaces its own."""
    scores, targets = one_label(60)
    about = {"name": "made", "label": "kind", "classes": CLASSES, "metrics": ["accuracy"], "multi_label": False}
    kept = {
        "paths": np.asarray([f"/data/{number // 2}.wav" for number in range(60)]),
        "sections": np.stack([np.arange(60) % 2 * 1.0, np.arange(60) % 2 + 1.0], axis=1),
        "rounds": np.repeat(np.arange(3), 20),
        "targets": targets,
        "scores_0": scores[None].astype(np.float16),
    }
    folder.mkdir()
    np.savez(folder / PREDICTIONS, **(kept | predictions))
    said = {"entrant": {}, "task": about | (task or {}), "protocol": {}, "results": [{}], "run": {}}
    cell = {"format": FORMAT, "format_version": FORMAT_VERSION} | said
    (folder / CELL).write_text(json.dumps(cell))
    return read_cell(folder)


def in_folds(values: np.ndarray) -> list[np.ndarray]:
    return [values[:20], values[20:40], values[40:]]


def test_cells_compare_as_their_scores_do_whatever_the_order_of_clips_and_classes(tmp_path: Path) -> None:
    a = write_cell(tmp_path / "a")
    kept, scores = a.predictions, one_label(60, seed=8)[0].astype(np.float16)
    targets = kept.targets
    expected = compare(accuracy, [in_folds(kept.scores[0][0])], [in_folds(scores)], in_folds(targets), CLASSES)
    order, columns = np.random.default_rng(0).permutation(60), [3, 1, 0, 2, 5, 4]
    b = write_cell(
        tmp_path / "b",
        {"classes": [CLASSES[column] for column in columns]},
        paths=kept.paths[order],
        sections=kept.sections[order],
        rounds=kept.rounds[order],
        targets=targets[order][:, columns],
        scores_0=scores[None, order][:, :, columns],
    )
    assert compare_cells([a], [b]) == expected
    assert compare_cells([a], [b], "brier").difference != expected.difference


def test_clips_of_one_cell_only_are_left_out_and_counted(tmp_path: Path) -> None:
    a = write_cell(tmp_path / "a")
    paths, rounds, scores = a.predictions.paths.copy(), a.predictions.rounds.copy(), a.predictions.scores[0].copy()
    paths[:3] = "/data/another.wav"
    rounds[59] = 0  # tested, but in another round
    scores[:, 10] = np.nan  # not tested by this result
    b = write_cell(tmp_path / "b", paths=paths, rounds=rounds, scores_0=scores)
    found = compare_cells([a], [b])
    assert (found.clips, found.left_out) == (55, 4 + 4 + 1)
    assert (found.difference, found.p_value) == (0, 1)


def test_draws_of_a_random_network_count_as_seeds_of_one_model(tmp_path: Path) -> None:
    model, one = write_cell(tmp_path / "model"), write_cell(tmp_path / "one")
    scores = np.stack([one_label(60, seed=8)[0], one_label(60, seed=9)[0]])
    scores[:, 10] = np.nan
    other = write_cell(tmp_path / "other", scores_0=scores)
    found = compare_cells([model], [one, other])
    assert (found.clips, found.left_out, found.test) == (59, 1, PERMUTATION)
    seeds = np.delete(np.concatenate([one.predictions.scores[0], other.predictions.scores[0]]), 10, axis=1)
    ours = np.delete(model.predictions.scores[0][0], 10, axis=0)
    targets = np.delete(model.predictions.targets, 10, axis=0)
    folds = [slice(0, 19), slice(19, 39), slice(39, 59)]
    expected = compare(
        accuracy,
        [[ours[f] for f in folds]],
        [[of[f] for f in folds] for of in seeds],
        [targets[f] for f in folds],
        CLASSES,
    )
    assert found.difference == pytest.approx(expected.difference)


def test_whole_files_and_files_listed_twice_are_matched(tmp_path: Path) -> None:
    whole = np.full((60, 2), np.nan)
    a, b = (write_cell(tmp_path / name, sections=whole) for name in "ab")
    assert (compare_cells([a], [b]).clips, compare_cells([a], [b]).left_out) == (60, 0)


def test_cells_that_do_not_compare_are_refused(tmp_path: Path) -> None:
    a = write_cell(tmp_path / "a")
    for name, task, kept, sentence in (
        ("b", {"label": "digit"}, {}, "only scores of one task compare"),
        ("c", {"classes": [*CLASSES[:5], "new"]}, {}, "different classes"),
        ("d", {}, {"paths": np.asarray(["/elsewhere.wav"] * 60)}, "share no test clips"),
        ("e", {}, {"targets": ~a.predictions.targets}, "different labels"),
    ):
        with pytest.raises(UsageError, match=sentence):
            compare_cells([a], [write_cell(tmp_path / name, task, **kept)])
