"""NSynth's three parts and their tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from downstream.tasks import Clip, load_task
from tests.downstream.tasks.layouts import parts_of, refusal


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Families and pitches, synth_lead in train only, and pitches beyond a piano's."""
    for part, family in (("train", "synth_lead"), ("train", "bass"), ("valid", "bass"), ("test", "bass")):
        folder = tmp_path / f"nsynth-{part}"
        (folder / "audio").mkdir(parents=True, exist_ok=True)
        table = folder / "examples.json"
        notes = json.loads(table.read_text()) if table.exists() else {}
        for pitch in (9, 21, 60, 100, 108, 109):
            notes[f"{family}_{part}_001-{pitch:03d}-075"] = {
                "instrument_family_str": family,
                "instrument_str": f"{family}_{part}_001",
                "pitch": pitch,
                "velocity": 75,
            }
        table.write_text(json.dumps(notes))
    return tmp_path


def test_families_and_instruments(root: Path) -> None:
    task = load_task("nsynth", root)
    assert (task.name, task.label, task.domain, task.unit_seconds) == ("nsynth", "instrument_family", "music", 4.0)
    assert task.classes == ("bass", "synth_lead") and task.metrics == ("accuracy",)
    assert parts_of(task) == {"train": 12, "valid": 6, "test": 6}
    assert {clip.part for clip in task.clips if clip.labels == ("synth_lead",)} == {"train"}
    note = root / "nsynth-test" / "audio" / "bass_test_001-009-075.wav"
    assert Clip(note, ("bass",), "test", "bass_test_001") in task.clips
    assert not task.split_made_here and "24 clips of 2 classes are listed, of the 305,979" in task.warnings()[0]
    assert task.expected_parts == {"train": 289_205, "valid": 12_678, "test": 4_096}


def test_pitches_of_a_piano(root: Path) -> None:
    task = load_task("nsynth_pitch", root)
    assert (task.name, task.label) == ("nsynth_pitch", "pitch")
    assert task.classes == ("21", "60", "100", "108")
    assert task.metrics == ("pitch_accuracy", "chroma_accuracy")
    assert parts_of(task) == {"train": 8, "valid": 4, "test": 4}
    assert task.left_out == "8 notes beyond the pitches 21 to 108 are left out"
    assert task.expected_parts == {"train": 289_205 - 4, "valid": 12_678 - 2, "test": 4_096 - 2}
    assert load_task("nsynth", root, label="pitch").metrics == task.metrics


def test_the_real_notes(real_data: Path) -> None:
    families, pitches = (
        load_task("nsynth", real_data / "nsynth-mini"),
        load_task("nsynth_pitch", real_data / "nsynth-mini"),
    )
    assert (len(families.clips), len(families.classes), families.folds) == (660, 11, ())
    assert set(map(int, pitches.classes)) <= set(range(21, 109))
    assert all(clip.path.is_file() for clip in families.clips)
    (part,) = families.rounds()
    groups = [{families.clips[index].group for index in indices} for indices in part[1:]]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("nsynth-valid/examples.json", None, ["nsynth-valid/examples.json does not exist"]),
        ("nsynth-test/audio", None, ["nsynth-test/audio does not exist"]),
        ("nsynth-train", None, ["nsynth-train does not exist", "the train part"]),
        ("nsynth-train/examples.json", "folder", ["IsADirectoryError", "JSON object"]),
        ("nsynth-train/audio", "file", ["audio is not a folder"]),
        (
            "nsynth-train/examples.json",
            '{"../a": {"instrument_family_str": "bass", "instrument_str": "x"}}',
            ["the file '../a.wav'", "examples.json"],
        ),
        ("nsynth-train/examples.json", '{"a": {"instrument_family_str": ["x"], "instrument_str": "x"}}', ["no text"]),
        ("nsynth-train/examples.json", '{"a": {"instrument_family_str": "x", "instrument_str": []}}', ["no text"]),
        ("nsynth-train/examples.json", "[1]", ["examples.json", "JSON object"]),
        ("nsynth-train/examples.json", "{", ["examples.json is not NSynth's table", "JSONDecodeError"]),
        ("nsynth-train/examples.json", '{"a": {"pitch": 60}}', ["KeyError", "instrument_family_str"]),
    ],
)
def test_another_layout_is_refused(root: Path, path: str, text: str | None, words: list[str]) -> None:
    if text in (None, "folder", "file"):
        (root / path).rename(root / "gone")
        if text:
            (root / path).mkdir() if text == "folder" else (root / path).touch()
    else:
        assert text is not None
        (root / path).write_text(text)
    for word in words:
        assert word in refusal("nsynth", root)


def test_labels_that_there_are_not(root: Path) -> None:
    assert "no label 'mood'; there are instrument_family and pitch" in refusal("nsynth", root, label="mood")
    for pitch in ('"C4"', "true", "60.5", "null"):
        (root / "nsynth-test" / "examples.json").write_text(f'{{"a": {{"pitch": {pitch}, "instrument_str": "x"}}}}')
        assert "no whole number" in refusal("nsynth_pitch", root)
