"""FSD50K's three folders: a vocabulary without a header, several labels a clip, numbers as names."""

from __future__ import annotations

from pathlib import Path

import pytest

from downstream.tasks import Clip, load_task, read_task_recipe
from tests.downstream.tasks.layouts import parts_of, refusal, touch, write_lines, write_rows

VOCABULARY = [
    (0, "Accelerating_and_revving_and_vroom", "/m/07q2z82"),
    (1, "Accordion", "/m/0mkg"),
    (2, "Chuckle_and_chortle", "/m/07sr1lc"),
    (3, "Human_voice", "/m/09l8g"),
]
DEV = [
    (64760, "Accordion", "/m/0mkg", "train"),
    (16399, "Chuckle_and_chortle,Human_voice", "/m/07sr1lc,/m/09l8g", "train"),
    (21914, "Human_voice", "/m/09l8g", "val"),
]
EVAL = [(37199, "Accordion,Human_voice", "/m/0mkg,/m/09l8g"), (175151, "Chuckle_and_chortle", "/m/07sr1lc")]
TABLES = "FSD50K.ground_truth"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_rows(tmp_path / TABLES / "vocabulary.csv", None, VOCABULARY)
    write_rows(tmp_path / TABLES / "dev.csv", ["fname", "labels", "mids", "split"], DEV)
    write_rows(tmp_path / TABLES / "eval.csv", ["fname", "labels", "mids"], EVAL)
    touch(tmp_path / "FSD50K.dev_audio", *(f"{row[0]}.wav" for row in DEV))
    touch(tmp_path / "FSD50K.eval_audio", *(f"{row[0]}.wav" for row in EVAL))
    touch(tmp_path, "FSD50K.metadata/class_info_FSD50K.json")
    return tmp_path


def test_labels_and_official_parts(root: Path) -> None:
    assert read_task_recipe("fsd50k").recognises(root)
    task = load_task("fsd50k", root)
    assert (task.title, task.domain, task.unit_seconds, task.multi_label) == ("FSD50K", "environment", 7.6, True)
    assert task.metrics == ("macro_map", "d_prime", "lwlrap")
    assert parts_of(task) == {"train": 2, "valid": 1, "test": 2} and not task.split_made_here
    assert task.clips[1] == Clip(
        root / "FSD50K.dev_audio" / "16399.wav", ("Chuckle_and_chortle", "Human_voice"), "train"
    )
    assert task.clips[3].path == root / "FSD50K.eval_audio" / "37199.wav"
    assert all(clip.path.is_file() for clip in task.clips)
    (part,) = task.rounds()
    assert (part.train, part.valid, part.test) == ([0, 1], [2], [3, 4])


def test_classes_are_the_vocabulary_in_its_order(root: Path) -> None:
    # The first one is in no row, and its row is the first of a file without a header.
    assert load_task("fsd50k", root).classes == tuple(name for _, name, _ in VOCABULARY)


def test_a_partial_copy_is_a_warning(root: Path) -> None:
    assert "5 clips of 4 classes are listed, of the 51,197" in load_task("fsd50k", root).warnings()[0]


@pytest.mark.parametrize(
    ("table", "lines", "words"),
    [
        ("vocabulary.csv", None, ["vocabulary.csv does not exist", "without a header"]),
        ("vocabulary.csv", ["0"], ["vocabulary.csv, line 1", "fewer cells"]),
        ("dev.csv", ["fname,labels,mids", "1,Accordion,/m/0mkg"], ["dev.csv has no column 'split'"]),
        ("dev.csv", ["fname,labels,mids,split", "1,Accordion,m,test"], ["dev.csv, line 2", "'test'", "train or val"]),
        (
            "dev.csv",
            ["fname,labels,mids,split", '1,"Accordion,Oboe","a,b",val'],
            ["line 2", "'Oboe'", "vocabulary.csv"],
        ),
        ("eval.csv", ["fname,labels,mids", "1,,"], ["eval.csv, line 2", "label ''"]),
        ("eval.csv", ["fname,labels,mids"], ["eval.csv has no rows"]),
        ("eval.csv", ["fname,labels,mids", "1,Accordion,Oboe,m,m"], ["line 2", "more cells than columns"]),
        ("eval.csv", ["fname,labels,mids", "64760,Accordion,m"], ["64760.wav stands in dev.csv and in eval.csv"]),
        ("eval.csv", ["fname,labels,mids", "1,Accordion,m", "1,Accordion,m"], ["lines 2 and 3", "same file '1'"]),
        ("eval.csv", ["fname,labels,mids", "../1,Accordion,m"], ["line 2 names the file '../1.wav'"]),
        ("dev.csv", ["fname,labels,mids,split", ",Accordion,m,val"], ["line 2 names the file '.wav'"]),
    ],
)
def test_another_layout(root: Path, table: str, lines: list[str] | None, words: list[str]) -> None:
    if lines is None:
        (root / TABLES / table).unlink()
    else:
        write_lines(root / TABLES / table, lines)
    message = refusal("fsd50k", root)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("folder", ["FSD50K.dev_audio", "FSD50K.eval_audio", TABLES])
def test_a_missing_folder(root: Path, folder: str) -> None:
    (root / folder).rename(root / "elsewhere")
    assert f"{root / folder} does not exist" in refusal("fsd50k", root)
