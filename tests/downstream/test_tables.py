"""Tables, pictures and score rows."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from downstream import tables
from downstream.metrics import Score
from downstream.protocols import ProbeResult
from downstream.tasks import Clip, Task

SCORE = Score(0.5, 0.4, 0.6, (0.5,), 0.01)


def test_table_in_a_pipe_is_aligned_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        tables.TableRow("a long model name", 3072, "logistic", "accuracy", (SCORE,), "0.1 to 1"),
        tables.TableRow("random", 3072, "logistic", "accuracy", (SCORE, Score(0.7, 0, 1, (), None)), ""),
        tables.TableRow("m", 5, "knn10", "d_prime", (Score(1.234, 1.0, 1.5, (), None),), ""),
    ]
    tables.print_table(rows)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and "\x1b" not in "".join(lines)
    assert "50.0 % ± 1.0" in lines[2] and "40.0 to 60.0" in lines[2] and "0.1 to 1" in lines[2]
    assert "60.0 % ± 14.1" in lines[3]  # the mean of two draws and their standard deviation
    assert "d'" in lines[4] and "1.23" in lines[4] and "1.00 to 1.50" in lines[4]
    ends = [
        line.index(text) + len(text)
        for line, text in zip(lines[2:], ("50.0 % ± 1.0", "60.0 % ± 14.1", "1.23"), strict=True)
    ]
    assert len(set(ends)) == 1


def test_table_in_a_terminal_is_ruled(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    tables.print_table([tables.TableRow("[m]", 5, "knn10", "accuracy", (SCORE,), "")])
    out = capsys.readouterr().out
    assert "[m]" in out and "┃" in out


def make_result(task: Task, predicted: list[list[int]], true: list[int]) -> ProbeResult:
    eye = np.eye(len(task.classes))
    tests, targets = [list(range(len(true)))], [eye[true].astype(bool)]
    return ProbeResult("logistic", {}, (0, 1), [], tests, [[eye[folds]] for folds in predicted], targets)


def make_task(classes: tuple[str, ...], multi_label: bool = False) -> Task:
    return Task("t", "l", (Clip(Path("a"), ("x",), "test"),), classes, "given", multi_label=multi_label)


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def test_class_table_is_the_mean_over_seeds(tmp_path: Path) -> None:
    task = make_task(("x", "y", "never tested"))
    tables.write_class_table(tmp_path / "c.csv", task, make_result(task, [[0, 0, 1], [0, 1, 1]], [0, 0, 1]))
    assert read(tmp_path / "c.csv") == [
        ["class", "test_clips", "precision", "recall", "f1"],
        ["x", "2", "1.0000", "0.7500", "0.8571"],
        ["y", "1", "0.6667", "1.0000", "0.8000"],
        ["never tested", "0", "", "", ""],
    ]


def test_class_table_of_several_labels_has_average_precisions(tmp_path: Path) -> None:
    task = make_task(("x", "y"), multi_label=True)
    targets = np.array([[True, False], [False, False], [True, False]])
    result = ProbeResult("logistic", {}, (), [], [[0, 1, 2]], [[np.array([[3.0, 0], [2, 0], [1, 0]])]], [targets])
    tables.write_class_table(tmp_path / "c.csv", task, result)
    assert read(tmp_path / "c.csv")[1:] == [["x", "2", "0.8333"], ["y", "0", ""]]


@pytest.mark.parametrize("n_classes", [2, 11, 120])
def test_confusion_picture_has_a_row_for_every_tested_class(tmp_path: Path, n_classes: int) -> None:
    names = [f"class {i}" for i in range(n_classes)]
    counts = np.eye(n_classes) * 5
    counts[0] = 0  # no test clip of the first class
    figure = tables.confusion_figure(counts, names, "title")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == names[1:]
    assert [label.get_text() for label in axes.get_xticklabels()] == names
    assert {text.get_text() for text in axes.texts} == ({"100"} if n_classes <= 20 else set())
    tables.write_confusion(tmp_path / "c.png", counts, names, "title")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["c.png"]


def test_file_stems_are_plain() -> None:
    assert (
        tables.file_stem("esc50", "runs/my model", "random:AudioNTT2022") == "esc50-runs-my-model-random-AudioNTT2022"
    )
    assert tables.file_stem("../..") == "model"


@pytest.mark.parametrize("letter", ["a", "ü", "猫"])
def test_long_file_stems_are_cut_and_stay_apart(letter: str) -> None:
    stems = [tables.file_stem("task", 300 * letter + end) for end in ("x", "y", "\udcff")]
    assert len(set(stems)) == 3
    assert all(stem.startswith(f"task-{letter}") and len(stem.encode()) < 120 for stem in stems)


def test_names_are_not_taken_for_formulas(tmp_path: Path) -> None:
    tables.write_confusion(tmp_path / "c.png", np.eye(2), ["$a^$", "b"], "$a^$ and $b_$")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("n_classes", "length"), [(1000, 20), (200, 60), (21, 400)])
def test_a_confusion_picture_is_never_huge(tmp_path: Path, n_classes: int, length: int) -> None:
    import struct

    names = [f"{i:0{length}}" for i in range(n_classes)]
    figure = tables.confusion_figure(np.eye(n_classes), names, "title")
    assert len(figure.axes[0].get_yticklabels()) == (n_classes if n_classes <= 200 else 0)
    tables.write_confusion(tmp_path / "c.png", np.eye(n_classes), names, "title")
    size = struct.unpack(">II", (tmp_path / "c.png").read_bytes()[16:24])
    assert max(size) <= 4100 and min(size) > 500
