"""HEAR's task folders, which say themselves how they are scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from downstream.metrics import METRICS
from downstream.tasks import Clip, load_task
from downstream.tasks.hear import METRIC_NAMES
from tests.downstream.tasks.layouts import parts_of, refusal, touch, write_rows

ABOUT = {
    "task_name": "speech_commands",
    "version": "v0.0.2-hear2021",
    "embedding_type": "scene",
    "prediction_type": "multiclass",
    "split_mode": "trainvaltest",
    "sample_duration": 1.0,
    "evaluation": ["top1_acc"],
    "default_mode": "5h",
    "mode": "full",
    "splits": ["train", "valid", "test"],
    "download_urls": [],
}
PARTS = ("train", "valid", "test")


def write_task(
    root: Path, tables: dict[str, dict[str, list[Any]]], rates: tuple[int, ...] = (48000,), **about: Any
) -> Path:
    """A task folder; the vocabulary's rows stand in another order than their numbers."""
    (root / "task_metadata.json").write_text(json.dumps(ABOUT | about))
    labels = list(dict.fromkeys(str(label) for files in tables.values() for of in files.values() for label in of))
    write_rows(root / "labelvocabulary.csv", ["idx", "label"], [*reversed(list(enumerate(labels)))])
    for split, files in tables.items():
        (root / f"{split}.json").write_text(json.dumps(files))
        for rate in rates:
            touch(root / str(rate) / split, *files)
    return root


def one_label(splits: tuple[str, ...], labels: tuple[Any, ...] = ("yes", "no")) -> dict[str, dict[str, list[Any]]]:
    return {split: {f"{label}-{split}-{n}.wav": [label] for label in labels for n in range(2)} for split in splits}


def test_every_metric_is_one_of_ours() -> None:
    assert set(METRIC_NAMES.values()) <= set(METRICS)


def test_train_valid_and_test(tmp_path: Path) -> None:
    task = load_task("hear", write_task(tmp_path, one_label(PARTS)))
    assert (task.name, task.title) == ("hear_speech_commands", "HEAR, speech_commands")
    assert task.classes == ("yes", "no") and task.metrics == ("accuracy",) and task.unit_seconds == 1.0
    assert parts_of(task) == dict.fromkeys(PARTS, 4) and not task.folds and not task.warnings()
    assert task.clips[0] == Clip(tmp_path / "48000" / "train" / "yes-train-0.wav", ("yes",), "train")
    assert all(clip.path.is_file() for clip in task.clips)


@pytest.mark.parametrize("mode", ["new_split_kfold", "presplit_kfold"])
def test_folds(tmp_path: Path, mode: str) -> None:
    folds = tuple(f"fold{index:02d}" for index in range(5))
    write_task(tmp_path, one_label(folds), split_mode=mode, nfolds=5, task_name="esc50", splits=list(folds))
    task = load_task("hear", tmp_path)
    assert task.name == "hear_esc50" and task.folds == folds and task.split == "HEAR's 5 folds"
    for part in task.rounds():
        assert {task.clips[index].part for index in part.test} == {part.name}


def test_pitches_are_numbers(tmp_path: Path) -> None:
    write_task(
        tmp_path,
        one_label(PARTS, (60, 72)),
        task_name="nsynth_pitch",
        mode="5h",
        evaluation=["pitch_acc", "chroma_acc"],
    )
    task = load_task("hear", tmp_path)
    assert task.name == "hear_nsynth_pitch_5h" and task.classes == ("60", "72")
    assert task.metrics == ("pitch_accuracy", "chroma_accuracy")


def test_several_labels(tmp_path: Path) -> None:
    splits: dict[str, dict[str, list[Any]]] = {part: {"1.wav": ["a", "b"], "2.wav": []} for part in PARTS}
    about: dict[str, Any] = {"prediction_type": "multilabel", "evaluation": ["mAP", "top1_acc", "d_prime", "aucroc"]}
    task = load_task("hear", write_task(tmp_path, splits, **about, sample_duration=None))
    assert task.multi_label and task.metrics == ("macro_map", "d_prime", "auc_roc")
    assert task.warnings() == ["top1_acc of the metadata is for one label a clip, and left out here"]
    assert [clip.labels for clip in task.clips[:2]] == [("a", "b"), ()] and task.unit_seconds is None


@pytest.mark.parametrize(
    ("rates", "taken"),
    [((16000, 48000), "16000"), ((22050, 44100, 48000), "22050"), ((8000, 11025), "11025")],
)
def test_one_of_several_rates(tmp_path: Path, rates: tuple[int, ...], taken: str) -> None:
    task = load_task("hear", write_task(tmp_path, one_label(PARTS), rates))
    assert {clip.path.parent.parent.name for clip in task.clips} == {taken}


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"embedding_type": "event"}, ["event task speech_commands", "only scene tasks"]),
        ({"task_name": "../esc50"}, ["no task_name of letters and digits"]),
        ({"embedding_type": "frame"}, ["embedding_type is 'frame'", "scene, event"]),
        ({"prediction_type": "regression"}, ["prediction_type is 'regression'"]),
        ({"split_mode": "loo"}, ["split_mode is 'loo'"]),
        ({"evaluation": ["top1_acc", "event_onset_200ms_fms"]}, ["'event_onset_200ms_fms'", "known: top1_acc"]),
        ({"evaluation": []}, ["no list of metrics"]),
        ({"evaluation": [["top1_acc"]]}, ["the metric \"['top1_acc']\""]),
        ({"evaluation": ["pitch_acc"]}, ["label 'yes'", "MIDI numbers"]),
        ({"evaluation": ["top1_acc", "pitch_acc"], "prediction_type": "multilabel"}, ["top1_acc, pitch_acc", "mAP"]),
        ({"sample_duration": float("inf")}, ["sample_duration is 'inf'", "number of seconds"]),
        ({"sample_duration": float("nan")}, ["sample_duration is 'nan'"]),
        ({"sample_duration": True}, ["sample_duration is 'True'"]),
        ({"sample_duration": "4 s"}, ["sample_duration is '4 s'"]),
        ({"sample_duration": -1}, ["sample_duration is '-1'"]),
        ({"split_mode": "new_split_kfold", "nfolds": 5}, ["0 tables fold*.json", "5 folds"]),
    ],
)
def test_tasks_that_cannot_be_scored(tmp_path: Path, about: dict[str, Any], words: list[str]) -> None:
    write_task(tmp_path, one_label(PARTS), **about)
    for word in words:
        assert word in refusal("hear", tmp_path)


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("task_metadata.json", None, ["task_metadata.json does not exist"]),
        ("task_metadata.json", "[]", ["no JSON object"]),
        ("task_metadata.json", "{}", ["no task_name"]),
        ("labelvocabulary.csv", None, ["labelvocabulary.csv does not exist"]),
        ("labelvocabulary.csv", "label\nyes\n", ["no column 'idx'"]),
        ("labelvocabulary.csv", "idx,label\n0,yes\n", ["'no'", "not in labelvocabulary.csv"]),
        ("labelvocabulary.csv", "idx,label\nzero,yes\n", ["no whole number"]),
        ("labelvocabulary.csv", "idx,label\n0,yes\n0,no\n", ["the idx 0 more than once"]),
        ("labelvocabulary.csv", "idx,label\n0,yes\n1,yes\n", ["the label 'yes' more than once"]),
        ("valid.json", "{}", ["valid.json lists no clips"]),
        ("valid.json", '{"../../a.wav": ["yes"]}', ["valid.json names the file '../../a.wav'"]),
        ("valid.json", '{"": ["yes"]}', ["valid.json names the file ''"]),
        ("valid.json", None, ["valid.json does not exist"]),
        ("valid.json", '{"a.wav": "yes"}', ["a.wav", "list of labels"]),
        ("valid.json", '{"a.wav": ["yes", "no"]}', ["2 labels", "multiclass"]),
        ("valid.json", "{", ["cannot be read as JSON"]),
        ("48000/test", None, ["48000/test does not exist"]),
        ("48000", None, ["no folder named after a sample rate"]),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, path: str, text: str | None, words: list[str]) -> None:
    write_task(tmp_path, one_label(PARTS))
    if text is None:
        (tmp_path / path).rename(tmp_path / "gone")
    else:
        (tmp_path / path).write_text(text)
    for word in words:
        assert word in refusal("hear", tmp_path)
