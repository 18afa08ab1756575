"""Every task reads its layout as it unpacks, and says what is wrong with another one."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from byol_a.errors import ByolaError, UsageError
from downstream.tasks import Clip, Task, load_task


def write_rows(path: Path, header: list[str], rows: list[list[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_esc50_reads_categories_folds_and_sources(tmp_path: Path) -> None:
    header = ["filename", "fold", "target", "category", "esc10", "src_file", "take"]
    rows = [
        [f"{fold}-{n}-A-0.ogg", fold, 0, ("dog", "rain")[n % 2], "True", n // 2, "A"]
        for fold in (1, 2, 10)
        for n in range(4)
    ]
    write_rows(tmp_path / "meta" / "esc50.csv", header, rows)
    (tmp_path / "audio").mkdir()
    task = load_task("esc50", tmp_path)
    assert task.classes == ("dog", "rain")
    assert task.folds == ("1", "2", "10")
    assert task.clips[1] == Clip(tmp_path / "audio" / "1-1-A-0.ogg", ("rain",), "1", "0")
    assert "12 clips of 2 classes" in task.warnings()[0]
    for part in task.rounds():
        assert sorted(part.train + part.test) == list(range(12)) and not part.valid
        assert {task.clips[i].part for i in part.test} == {part.name}


def test_fsdd_leaves_a_speaker_out_or_names_the_speaker(tmp_path: Path) -> None:
    for digit in range(3):
        for speaker in ("ann", "bob"):
            for index in (0, 4, 5, 11):
                touch(tmp_path / "recordings" / f"{digit}_{speaker}_{index}.wav")
    digits = load_task("fsdd", tmp_path)
    assert digits.classes == ("0", "1", "2") and digits.folds == ("ann", "bob")
    assert all(clip.group == clip.part for clip in digits.clips)
    speakers = load_task("fsdd", tmp_path, label="speaker")
    assert speakers.classes == ("ann", "bob") and speakers.folds == ()
    (part,) = speakers.rounds()
    assert {speakers.clips[i].path.stem.split("_")[2] for i in part.test} == {"0", "4"}


def write_nsynth(root: Path) -> None:
    for part, family in (("train", "synth_lead"), ("train", "bass"), ("valid", "bass"), ("test", "bass")):
        folder = root / f"nsynth-{part}"
        (folder / "audio").mkdir(parents=True, exist_ok=True)
        table = folder / "examples.json"
        notes = json.loads(table.read_text()) if table.exists() else {}
        for pitch in (60, 100, 9):
            notes[f"{family}_{part}-{pitch}"] = {
                "instrument_family_str": family,
                "instrument_str": f"{family}_{part}",
                "pitch": pitch,
            }
        table.write_text(json.dumps(notes))


def test_nsynth_reads_families_and_pitches(tmp_path: Path) -> None:
    write_nsynth(tmp_path)
    families = load_task("nsynth", tmp_path)
    assert families.classes == ("bass", "synth_lead")
    (part,) = families.rounds()
    assert [len(part.train), len(part.valid), len(part.test)] == [6, 3, 3]
    assert families.clips[part.test[0]].path.parent == tmp_path / "nsynth-test" / "audio"
    pitches = load_task("nsynth", tmp_path, label="pitch")
    assert pitches.classes == ("9", "60", "100")
    assert pitches.metrics == ("accuracy", "chroma_accuracy")


@pytest.mark.parametrize("below", ["", "train", "val", "test"])
def test_folder_reads_classes_and_parts(tmp_path: Path, below: str) -> None:
    for part in ("train", "val", "test") if below else ("",):
        for name in ("cat", "dog"):
            for index in range(6):
                touch(tmp_path / part / name / "deep" / f"{index}.wav")
    task = load_task("folder", tmp_path)
    assert task.classes == ("cat", "dog")
    assert all(clip.path.parent.parent.name == clip.labels[0] for clip in task.clips)
    if below:
        assert not task.split_made_here and {clip.part for clip in task.clips} == {"train", "valid", "test"}
    else:
        assert task.split_made_here and len(task.folds) == 5
        assert any("no official split was given" in warning for warning in task.warnings())
        for part in task.rounds():  # stratified: both classes in every test fold
            assert {task.clips[i].labels for i in part.test} == {("cat",), ("dog",)}


def test_folder_reads_a_table(tmp_path: Path) -> None:
    table = write_rows(
        tmp_path / "t.csv",
        ["file_name", "label", "split", "group"],
        [["a.wav", "cat", "train", "x"], ["b.wav", "dog", "Validation", ""], ["c.wav", "dog", "test", "y"]],
    )
    task = load_task("folder", tmp_path, csv=table)
    assert task.clips[0] == Clip(tmp_path / "a.wav", ("cat",), "train", "x")
    assert [clip.part for clip in task.clips] == ["train", "valid", "test"]
    assert task.clips[1].group is None and task.metrics == ("accuracy",) and not task.multi_label


def test_a_comma_makes_a_table_multi_label(tmp_path: Path) -> None:
    rows = [["a.wav", "cat, dog", 1], ["b.wav", "dog", 2], ["c.wav", "", 2]]
    task = load_task("folder", tmp_path, csv=write_rows(tmp_path / "t.csv", ["file_name", "label", "fold"], rows))
    assert task.multi_label and task.metrics[0] == "macro_map"
    assert [clip.labels for clip in task.clips] == [("cat", "dog"), ("dog",), ()]
    assert task.folds == ("1", "2") and not task.split_made_here


def test_made_folds_keep_groups_together(tmp_path: Path) -> None:
    rows = [[f"{i}.wav", "ab"[i % 2], f"g{i // 4}"] for i in range(40)]
    task = load_task("folder", tmp_path, csv=write_rows(tmp_path / "t.csv", ["file_name", "label", "group"], rows))
    folds_of = {}
    for clip in task.clips:
        folds_of.setdefault(clip.group, set()).add(clip.part)
    assert all(len(folds) == 1 for folds in folds_of.values())
    assert "group-wise" in task.split


@pytest.mark.parametrize(
    ("name", "files", "options", "words"),
    [
        ("esc50", [], {}, ["meta/esc50.csv", "does not exist"]),
        ("esc50", [("meta/esc50.csv", "filename,fold\na,1\n")], {}, ["esc50.csv", "no column 'category'"]),
        ("fsdd", [], {}, ["recordings", "does not exist"]),
        ("fsdd", [("recordings/x.txt", "")], {}, ["recordings", "no .wav"]),
        ("fsdd", [("recordings/seven.wav", "")], {}, ["seven.wav", "digit_speaker_index"]),
        ("fsdd", [("recordings/0_a_0.wav", "")], {"label": "mood"}, ["'mood'", "digit and speaker"]),
        ("fsdd", [], {"csv": "t.csv"}, ["fsdd has no option --csv"]),
        ("nsynth", [], {}, ["nsynth-train", "does not exist"]),
        (
            "nsynth",
            [("nsynth-train/audio/x", ""), ("nsynth-train/examples.json", "[1]")],
            {},
            ["examples.json", "JSON object"],
        ),
        ("folder", [("a.wav", "")], {}, ["a.wav", "<class>"]),
        ("folder", [("cat/a.wav", "")], {}, ["1 class"]),
        ("folder", [("cat/notes.txt", "")], {}, ["no audio file"]),
        ("folder", [], {"csv": "nowhere.csv"}, ["nowhere.csv", "does not exist"]),
        (
            "folder",
            [("t.csv", "file_name,label,split\na,x,train\nb,y,later\n")],
            {"csv": "t.csv"},
            ["row 3", "'later'"],
        ),
        ("folder", [("t.csv", "file_name,label\na,x\nb\n")], {"csv": "t.csv"}, ["row 3", "fewer cells"]),
        ("folder", [("t.csv", "file_name,label\na,x\nb,\n")], {"csv": "t.csv"}, ["row 3", "no label"]),
        ("folder", [("t.csv", "file_name,label\n")], {"csv": "t.csv"}, ["no rows"]),
        ("gtzan2", [], {}, ["no task 'gtzan2'", "esc50"]),
    ],
)
def test_another_layout_is_said_in_one_sentence(
    tmp_path: Path, name: str, files: list[tuple[str, str]], options: dict[str, str], words: list[str]
) -> None:
    for relative, text in files:
        touch(tmp_path / relative).write_text(text)
    if "csv" in options:
        options = {"csv": str(tmp_path / options["csv"])}
    with pytest.raises(UsageError) as caught:
        load_task(name, tmp_path, **options)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        load_task("esc50", tmp_path / "nowhere")


def test_a_round_without_test_clips_is_refused() -> None:
    task = Task("x", "y", (Clip(Path("a"), ("l",), "train"),), ("l",), "given")
    with pytest.raises(ByolaError, match="1 clips to train on and 0 to test on"):
        task.rounds()


def test_the_real_sets_are_read(real_data: Path) -> None:
    esc, fsdd = load_task("esc50", real_data / "esc10"), load_task("fsdd", real_data / "fsdd")
    nsynth = load_task("nsynth", real_data / "nsynth-mini")
    assert (len(esc.clips), len(esc.classes), len(esc.folds)) == (400, 10, 5)
    assert (len(fsdd.clips), len(fsdd.classes), len(fsdd.folds)) == (3000, 10, 6) and not fsdd.warnings()
    assert (len(nsynth.clips), len(nsynth.classes), nsynth.folds) == (660, 11, ())
    assert all(clip.path.is_file() for task in (esc, fsdd, nsynth) for clip in task.clips)


def labelled_folders(root: Path, *folders: str) -> Path:
    for folder in folders:
        for index in range(5):
            touch(root / folder / f"{index}.wav")
    return root


def test_folders_without_audio_do_not_hide_the_parts(tmp_path: Path) -> None:
    labelled_folders(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog")
    touch(tmp_path / "docs" / "readme.txt")
    (tmp_path / "empty").mkdir()
    task = load_task("folder", tmp_path)
    assert task.classes == ("cat", "dog")
    assert task.split == "given by the folders test, train"


def test_a_further_folder_of_audio_beside_the_parts_is_refused(tmp_path: Path) -> None:
    labelled_folders(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog", "extra/cat")
    with pytest.raises(UsageError, match="extra"):
        load_task("folder", tmp_path)


def test_parts_of_which_one_is_missing_are_no_classes(tmp_path: Path) -> None:
    labelled_folders(tmp_path, "train/cat", "train/dog", "valid/cat")
    (tmp_path / "test").mkdir()
    with pytest.raises(UsageError, match="train and valid but no test folder"):
        load_task("folder", tmp_path)


def test_a_file_beside_the_classes_of_a_part_is_refused(tmp_path: Path) -> None:
    labelled_folders(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog", "train")
    with pytest.raises(UsageError, match="train/<class>/"):
        load_task("folder", tmp_path)


def test_a_file_in_two_rows_is_refused(tmp_path: Path) -> None:
    rows: list[list[object]] = [["a.wav", "cat"], ["b.wav", "dog"], ["sub/../a.wav", "dog"]]
    table = write_rows(tmp_path / "t.csv", ["file_name", "label"], rows)
    with pytest.raises(UsageError, match=r"rows 2 and 4 .* labels in one cell"):
        load_task("folder", tmp_path, csv=table)


def test_one_empty_group_does_not_turn_groups_off(tmp_path: Path) -> None:
    rows: list[list[object]] = [[f"{i}.wav", "ab"[i % 2], f"g{i // 4}" if i else " "] for i in range(40)]
    task = load_task("folder", tmp_path, csv=write_rows(tmp_path / "t.csv", ["file_name", "label", "group"], rows))
    for group in {clip.group for clip in task.clips} - {None}:
        assert len({clip.part for clip in task.clips if clip.group == group}) == 1
    assert task.clips[0].group is None and "group-wise" in task.split


def test_audio_that_is_left_out_is_said(tmp_path: Path) -> None:
    labelled_folders(tmp_path, "cat", "dog")
    touch(tmp_path / "cat" / "phone.m4a")
    (tmp_path / "dog" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    task = load_task("folder", tmp_path)
    assert len(task.clips) == 10
    (said,) = [warning for warning in task.warnings() if "could not be used" in warning]
    assert "2 files could not be used: 1 unreadable, 1 unsupported" in said and "phone.m4a" in said


@pytest.mark.parametrize(("marks", "name", "whole"), [("True", "esc10", 400), ("False", "esc50", 2000)])
def test_a_table_of_esc10_only_is_esc10(tmp_path: Path, marks: str, name: str, whole: int) -> None:
    header = ["filename", "fold", "category", "esc10", "src_file"]
    rows: list[list[object]] = [[f"{i}.ogg", i % 5 + 1, "dog" if i % 2 else "rain", "True", i] for i in range(400)]
    rows[-1][3] = marks
    write_rows(tmp_path / "meta" / "esc50.csv", header, rows)
    (tmp_path / "audio").mkdir()
    task = load_task("esc50", tmp_path)
    assert (task.name, task.expected_clips) == (name, whole)
    assert bool(task.warnings()) == (name == "esc50")
