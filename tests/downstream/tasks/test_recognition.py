"""Every set below one root, with folders beside them that look alike: each is found once, at its own root."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from downstream.suites import find_tasks
from downstream.tasks import load_task, task_recipes
from downstream.tasks.speech_commands import WORDS
from tests.downstream.tasks import test_audioset, test_hear
from tests.downstream.tasks.layouts import touch, write_rows
from tests.downstream.tasks.test_speech_commands import write_words
from tests.downstream.tasks.test_speech_commands_12 import NOISE, write_noise

EMOTIONS = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")


def esc(root: Path, n_classes: int) -> None:
    header = ["filename", "fold", "target", "category", "esc10", "src_file", "take"]
    rows = [
        [f"{fold}-1-A-{n}.wav", fold, n, f"class{n}", n < 2, 1, "A"] for fold in range(1, 6) for n in range(n_classes)
    ]
    write_rows(root / "meta" / "esc50.csv", header, rows)
    touch(root / "audio", *(str(row[0]) for row in rows))


def us8k(root: Path) -> None:
    header = ["slice_file_name", "fsID", "fold", "class"]
    rows = [[f"{fold}-{n}.wav", fold, fold, ("siren", "drilling")[n]] for fold in range(1, 11) for n in range(2)]
    write_rows(root / "metadata" / "UrbanSound8K.csv", header, rows)
    touch(root / "audio", *(f"fold{row[2]}/{row[0]}" for row in rows))


def fsd50k(root: Path) -> None:
    tables = root / "FSD50K.ground_truth"
    write_rows(tables / "vocabulary.csv", None, [(0, "Accordion", "m"), (1, "Voice", "n")])
    rows = [(1, "Accordion", "m", "train"), (2, "Voice", "n", "val")]
    write_rows(tables / "dev.csv", ["fname", "labels", "mids", "split"], rows)
    write_rows(tables / "eval.csv", ["fname", "labels", "mids"], [(3, "Voice", "n")])
    touch(root, "FSD50K.dev_audio/1.wav", "FSD50K.dev_audio/2.wav", "FSD50K.eval_audio/3.wav")


def audioset(root: Path) -> None:
    test_audioset.write_tables(root / "csv")
    touch(root / "audio", "--PJHxphWEs.wav", "---1_cCGK4M.wav", "CCCCCCCCCCC.wav")


def spcv2(root: Path) -> None:
    write_words(root)
    (root / "_background_noise_" / "pink_noise.wav").unlink()
    write_noise(root / "_background_noise_", NOISE)


def vc1(root: Path) -> None:
    names = [f"id1000{n}/video{n}{part}/00001.wav" for n in (1, 2) for part in (1, 2, 3)]
    touch(root / "wav", *names)
    (root / "iden_split.txt").write_text("".join(f"{name.split('/')[1][-1]} {name}\n" for name in names))


def voxforge(root: Path) -> None:
    touch(root, *(f"{name}/16kHz/s{n}-2010010{n}-x/wav/1.wav" for name in ("de", "ru") for n in range(9)))


def nsynth(root: Path) -> None:
    for part in ("train", "valid", "test"):
        note = {"instrument_family_str": "bass", "instrument_str": f"bass_{part}", "pitch": 60}
        touch(root / f"nsynth-{part}" / "audio", "a.wav")
        (root / f"nsynth-{part}" / "examples.json").write_text(json.dumps({"a": note}))


# Where each set is unpacked, how, and the tasks that it serves.
SETS: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "ESC-50-master": (lambda root: esc(root, 5), {"esc50", "esc10"}),
    "sounds/UrbanSound8K": (us8k, {"us8k"}),
    "sounds/FSD50K": (fsd50k, {"fsd50k"}),
    "sounds/audioset": (audioset, {"audioset", "audioset20k"}),
    "speech/v0.01": (lambda root: write_words(root, WORDS[1]), {"spcv1"}),
    "speech/v0.02": (spcv2, {"spcv2", "spcv2_12"}),
    "VoxCeleb1": (vc1, {"vc1"}),
    "voxforge": (voxforge, {"voxforge"}),
    "CREMA-D": (
        lambda root: touch(root / "AudioWAV", *(f"100{n}_DFA_{e}_XX.wav" for n in range(1, 7) for e in EMOTIONS)),
        {"cremad"},
    ),
    "music/gtzan": (
        lambda root: touch(root / "genres", *(f"{g}/{g}.{n:05d}.wav" for g in ("blues", "jazz") for n in range(9))),
        {"gtzan"},
    ),
    "music/nsynth": (nsynth, {"nsynth", "nsynth_pitch"}),
    "music/surge": (
        lambda root: touch(root, *(f"tone{n}-velocity64/{pitch}.ogg" for n in range(9) for pitch in (60, 61))),
        {"surge"},
    ),
    "fsdd": (
        lambda root: touch(root / "recordings", *(f"{d}_{s}_{n}.wav" for d in (0, 1) for s in "ab" for n in (0, 9))),
        {"fsdd", "fsdd_speaker"},
    ),
    "hear/tasks/a": (lambda root: test_hear.write_task(root, test_hear.one_label(test_hear.PARTS)), {"hear"}),
    "hear/tasks/b": (
        lambda root: test_hear.write_task(root, test_hear.one_label(test_hear.PARTS), task_name="b"),
        {"hear"},
    ),
}

DECOYS = (
    "de/meeting-2010-01/wav/1.wav",  # one folder that is named as a language
    "speech/session-2010/wav/1.wav",
    "sounds/audio/fold1/1.wav",
    "csv/eval_segments.csv",  # tables without those to train on
    "music/genres/rock/rock.00001.wav",
    "recordings/hello.wav",
    "AudioWAV/03-01-01.wav",
    "nsynth-train/audio/a.wav",
    "lists/validation_list.txt",
    "lists/testing_list.txt",
    "wav/id10001/x/1.wav",
    "labels/labelvocabulary.csv",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sets")
    for place, (make, _) in SETS.items():
        (root / place).mkdir(parents=True)
        make(root / place)
    touch(root, *DECOYS)
    return root


def test_every_set_is_found_at_its_own_root_and_nowhere_else(root: Path) -> None:
    recognisable = [name for name, recipe in task_recipes().items() if recipe.markers]
    search = find_tasks(recognisable, [root], {})
    expected = {(name, root / place) for place, (_, names) in SETS.items() for name in names}
    assert {(task.name, task.root) for task in search.found} == expected
    assert not search.missing and not search.notes
    assert {name for name, _ in expected} == set(recognisable)


@pytest.mark.parametrize("place", SETS)
def test_what_is_found_can_be_read(root: Path, place: str) -> None:
    for name in SETS[place][1]:
        task = load_task(name, root / place)
        assert task.clips and all(clip.path.is_file() for clip in task.clips)


def test_esc10_alone_is_not_esc50(tmp_path: Path) -> None:
    esc(tmp_path, 2)
    assert [task.name for task in find_tasks(["esc50", "esc10"], [tmp_path], {}).found] == ["esc10"]
