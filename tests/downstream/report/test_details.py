"""The details behind a score, against what the definitions and scikit-learn give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from downstream.metrics import METRICS
from downstream.report.details import MOST_CONFUSIONS, details_of
from tests.downstream.report.cells import LOGMEL, MODEL, fake_task, write_fake_cell


def test_single_label_details_are_those_of_scikit_learn(tmp_path: Path) -> None:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    cell = write_fake_cell(tmp_path, fake_task(n_classes=6), MODEL, 1.0)
    found, hardest = details_of(cell, 0)
    predictions = cell.predictions
    scores = predictions.scores[0][0].astype(np.float64)
    truth, guesses = predictions.targets.argmax(axis=1), scores.argmax(axis=1)
    expected = confusion_matrix(truth, guesses, labels=range(6))
    counts = np.zeros((6, 6))
    for row, column, count in found["confusion"]:
        counts[row, column] = count
    np.testing.assert_array_equal(counts, expected)
    precision, recall, f1, support = precision_recall_fscore_support(truth, guesses, labels=range(6))
    np.testing.assert_allclose(found["classes"]["precision"], precision, atol=1e-4)
    np.testing.assert_allclose(found["classes"]["recall"], recall, atol=1e-4)
    np.testing.assert_allclose(found["classes"]["f1"], f1, atol=1e-4)
    assert found["classes"]["support"] == support.tolist()
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    losses = -np.log(probabilities[np.arange(len(truth)), truth])
    assert [clip.row for clip in hardest] == np.argsort(-losses, kind="stable")[: len(hardest)].tolist()
    assert hardest[0].top[0][0] == guesses[hardest[0].row] != truth[hardest[0].row]


def test_the_bins_give_the_calibration_error(tmp_path: Path) -> None:
    for multi_label, metric in ((False, "ece"), (True, "binary_ece")):
        names = ["macro_map"] if multi_label else ["accuracy"]
        task = fake_task(f"task-{metric}", 8, multi_label=multi_label, metrics=names)
        cell = write_fake_cell(tmp_path, task, MODEL, 1.0)
        found, _ = details_of(cell, 0)
        bins = [entry for entry in found["calibration"] if entry]
        total = sum(count for count, _, _ in bins)
        gap = sum(count / total * abs(mean - true) for count, mean, true in bins)
        scores, targets = cell.predictions.scores[0][0].astype(np.float32), cell.predictions.targets
        expected = METRICS[metric](scores, targets, task["classes"], np.ones((1, len(targets))))[0]
        assert gap == pytest.approx(expected, abs=2e-4)


def test_multi_label_average_precision_is_that_of_scikit_learn(tmp_path: Path) -> None:
    from sklearn.metrics import average_precision_score

    cell = write_fake_cell(tmp_path, fake_task(n_classes=7, multi_label=True, metrics=["macro_map"]), MODEL, 1.0)
    found, hardest = details_of(cell, 0)
    targets, scores = cell.predictions.targets, cell.predictions.scores[0][0].astype(np.float64)
    expected = [average_precision_score(targets[:, c], scores[:, c]) for c in range(7)]
    np.testing.assert_allclose(found["classes"]["ap"], expected, atol=1e-4)
    assert "confusion" not in found
    assert all(clip.truth == np.flatnonzero(targets[clip.row]).tolist() for clip in hardest)


def test_counts_are_means_over_seeds(tmp_path: Path) -> None:
    cell = write_fake_cell(tmp_path, fake_task(n_classes=5), LOGMEL, 0.5, n_seeds=4)
    found, _ = details_of(cell, 0)
    assert sum(count for _, _, count in found["confusion"]) == pytest.approx(400, abs=0.01)
    assert sum(entry[0] for entry in found["calibration"] if entry) == pytest.approx(400)


def test_untested_clips_and_impossible_classes_take_no_part(tmp_path: Path) -> None:
    cell = write_fake_cell(tmp_path, fake_task(n_classes=5), MODEL, 1.0)
    scores = cell.predictions.scores[0]
    scores[:, :100] = np.nan
    scores[:, 100:, 4] = -np.inf  # a class that was not there in training
    found, hardest = details_of(cell, 0)
    assert found["clips"] == 300
    assert min(clip.row for clip in hardest) >= 100
    assert found["classes"]["predicted"][4] == 0 and found["classes"]["precision"][4] is None


def test_a_large_matrix_keeps_its_most_frequent_errors(tmp_path: Path) -> None:
    task = fake_task(n_classes=300, clips=5000, tested=5000)
    cell = write_fake_cell(tmp_path, task, MODEL, 0.0, results=[("logistic", {}, 0.0)])
    found, _ = details_of(cell, 0)
    errors = [count for row, column, count in found["confusion"] if row != column]
    assert len(errors) == MOST_CONFUSIONS
    assert errors == sorted(errors, reverse=True)


def test_a_clip_tested_in_several_rounds_is_listed_once(tmp_path: Path) -> None:
    paths = [f"/data/clip-{index % 10}.wav" for index in range(400)]
    cell = write_fake_cell(tmp_path, fake_task(n_classes=5), MODEL, 0.0, paths=paths)
    _, hardest = details_of(cell, 0)
    assert len({str(cell.predictions.paths[clip.row]) for clip in hardest}) == len(hardest) == 10
