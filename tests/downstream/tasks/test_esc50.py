"""ESC-50's table and folder, and its ESC-10 subset."""

from __future__ import annotations

from pathlib import Path

import pytest

from downstream.tasks import Clip, load_task, read_task_recipe
from tests.downstream.tasks.layouts import parts_of, refusal, touch, write_lines, write_rows

HEADER = ["filename", "fold", "target", "category", "esc10", "src_file", "take"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four clips a fold, two of them of ESC-10; two clips of one recording."""
    rows = []
    for fold in range(1, 6):
        for number, (target, name) in enumerate([(0, "dog"), (0, "dog"), (10, "rain"), (14, "chirping_birds")]):
            source, take = 1000 * fold + number // 2, "AB"[number % 2]
            marked = str(name in ("dog", "rain"))
            file = f"{fold}-{source}-{take}-{target}.wav"
            rows.append([file, fold, target, name, marked if name != "rain" or fold > 1 else "False", source, take])
            touch(tmp_path / "audio", file)
    write_rows(tmp_path / "meta" / "esc50.csv", HEADER, rows)
    return tmp_path


def test_categories_folds_and_recordings(root: Path) -> None:
    task = load_task("esc50", root)
    assert (task.name, task.title, task.domain, task.unit_seconds) == ("esc50", "ESC-50", "environment", 5.0)
    assert task.classes == ("chirping_birds", "dog", "rain") and task.metrics == ("accuracy",)
    assert task.split == "5 official folds" and not task.split_made_here
    assert parts_of(task) == dict.fromkeys("12345", 4)
    assert task.clips[1] == Clip(root / "audio" / "1-1000-B-0.wav", ("dog",), "1", "1000")
    assert task.clips[0].group == task.clips[1].group != task.clips[2].group
    assert all(clip.path.is_file() for clip in task.clips)


def test_each_fold_is_tested_once(root: Path) -> None:
    task = load_task("esc50", root)
    assert [part.name for part in task.rounds()] == ["1", "2", "3", "4", "5"]
    for part in task.rounds():
        assert sorted(part.train + part.test) == list(range(20)) and not part.valid
        assert {task.clips[index].part for index in part.test} == {part.name}


def test_esc10_is_what_the_table_marks(root: Path) -> None:
    task = load_task("esc10", root)
    assert task.name == "esc10" and task.classes == ("dog", "rain")
    assert parts_of(task) == {"1": 2, "2": 3, "3": 3, "4": 3, "5": 3}
    assert "14 clips of 2 classes are listed, of the 400 clips of all esc10" in task.warnings()[0]


def test_a_partial_copy_is_a_warning(root: Path) -> None:
    assert "20 clips of 3 classes are listed, of the 2,000 clips of all esc50" in load_task("esc50", root).warnings()[0]


def test_the_subset_alone_is_not_esc50(root: Path) -> None:
    lines = (root / "meta" / "esc50.csv").read_text().splitlines()
    write_lines(root / "meta" / "esc50.csv", [line for line in lines if ",False," not in line])
    assert len(load_task("esc10", root).clips) == 14
    assert read_task_recipe("esc10").recognises(root)
    assert "--task esc10" in refusal("esc50", root)


def test_the_real_esc10(real_data: Path) -> None:
    task = load_task("esc10", real_data / "esc10")
    assert read_task_recipe("esc10").recognises(real_data / "esc10")
    assert not read_task_recipe("esc50").recognises(real_data / "esc10")
    assert not task.warnings() and len(task.classes) == 10 and parts_of(task) == dict.fromkeys("12345", 80)
    assert all(clip.path.is_file() and clip.path.suffix == ".ogg" for clip in task.clips)
    assert "--task esc10" in refusal("esc50", real_data / "esc10")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (None, ["meta/esc50.csv does not exist", "the table of ESC-50"]),
        (["filename,fold,target,category,src_file,take", "a.wav,1,0,dog,1,A"], ["esc50.csv has no column 'esc10'"]),
        ([",".join(HEADER)], ["has no rows"]),
        ([",".join(HEADER), "a.wav,1,0,dog,False,1,A", "b.wav,6,0,dog,False,1,A"], ["line 3", "fold '6'", "1 to 5"]),
        ([",".join(HEADER), "a.wav,1,0,,False,1,A"], ["line 2", "category ''"]),
        ([",".join(HEADER), "a.wav,1,0"], ["line 2", "fewer cells"]),
        ([",".join(HEADER), "", "a,b.wav,1,0,dog,False,1,A"], ["line 3 has more cells than columns", "quote cells"]),
        (
            [",".join(HEADER), "a.wav,1,0,dog,False,1,A", "./a.wav,2,0,dog,False,1,A"],
            ["lines 2 and 3 name the same file './a.wav'"],
        ),
        ([",".join(HEADER), "a.wav,1,0,dog,False,1,A"], ["audio does not exist"]),
    ],
)
def test_another_layout(tmp_path: Path, lines: list[str] | None, words: list[str]) -> None:
    if lines is not None:
        write_lines(tmp_path / "meta" / "esc50.csv", lines)
    message = refusal("esc50", tmp_path)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../../x.wav", "sub/", ".wav", "a/../../../b.wav"])
def test_names_that_leave_the_set(root: Path, name: str) -> None:
    write_rows(root / "meta" / "esc50.csv", HEADER, [["a.wav", 1, 0, "dog", "False", 1, "A"], [name, 2, 0, "x", "", 1]])
    assert f"esc50.csv, line 3 names the file {name!r}; the name of one in" in refusal("esc50", root)


def test_a_table_that_marks_nothing_has_no_subset(tmp_path: Path) -> None:
    write_rows(tmp_path / "meta" / "esc50.csv", HEADER, [["a.wav", 1, 0, "dog", "False", 1, "A"]])
    assert "marks no row as esc10" in refusal("esc10", tmp_path)
