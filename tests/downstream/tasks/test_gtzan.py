"""GTZAN's folders, its unreadable file, and the fault-filtered lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from byol_a.data.io import read_audio
from byol_a.errors import AudioError
from downstream.tasks import Clip, load_task
from tests.downstream.tasks.layouts import parts_of, refusal, touch, write_lines, write_rows

GENRES = ("blues", "jazz")


@pytest.fixture(params=["genres/.au", "genres_original/.wav"])
def root(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Two genres of 100 clips, as published (.au) and as the common copy has them (.wav)."""
    folder, _, extension = request.param.partition("/")
    for genre in GENRES:
        touch(tmp_path / folder / genre, *(f"{genre}.{index:05d}{extension}" for index in range(100)), ".DS_Store")
    return tmp_path


def write_lists(folder: Path) -> None:
    """As the field's: fewer clips than there are, names in .wav."""
    for part, indices in (("train", range(40)), ("valid", range(40, 60)), ("test", range(60, 90))):
        lines = [f"{genre}/{genre}.{index:05d}.wav" for genre in GENRES for index in indices]
        write_lines(folder / f"{part}_filtered.txt", lines)


def test_each_genre_is_divided_where_there_are_no_lists(root: Path) -> None:
    task = load_task("gtzan", root)
    assert (task.name, task.label, task.domain, task.unit_seconds) == ("gtzan", "genre", "music", 30.0)
    assert task.classes == GENRES and parts_of(task) == {"train": 100, "valid": 40, "test": 60}
    assert parts_of(task.only([i for i, clip in enumerate(task.clips) if clip.labels == ("jazz",)]))["test"] == 30
    assert task.split_made_here and "artists not kept apart" in task.split
    assert "200 clips of 2 classes are listed, of the 1,000" in task.warnings()[0]


def test_copies_in_both_formats_are_divided_alike(tmp_path: Path) -> None:
    parts = []
    for name, extension in (("a", ".au"), ("b", ".wav")):
        touch(tmp_path / name / "genres" / "blues", *(f"blues.{index:05d}{extension}" for index in range(100)))
        parts.append([clip.part for clip in load_task("gtzan", tmp_path / name).clips])
    assert parts[0] == parts[1]


def test_the_fields_lists(root: Path, tmp_path: Path) -> None:
    write_lists(tmp_path / "lists")
    task = load_task("gtzan", root, split=tmp_path / "lists")
    assert parts_of(task) == {"train": 80, "valid": 40, "test": 60} and not task.split_made_here
    assert task.split == "given by test_filtered.txt, train_filtered.txt, valid_filtered.txt"
    assert task.expected_clips == 930 and task.expected_parts == {"train": 443, "valid": 197, "test": 290}
    assert "20 clips are not in" in task.warnings()[0]


def test_lists_beside_the_genres_are_found(root: Path) -> None:
    write_lists(root)
    assert load_task("gtzan", root).split.startswith("given by")


def test_other_lists_are_not_measured_by_the_filtered_ones(root: Path, tmp_path: Path) -> None:
    rows = [[f"{genre}.{index:05d}.wav", "test" if index % 2 else "train"] for genre in GENRES for index in range(100)]
    task = load_task("gtzan", root, split=write_rows(tmp_path / "mine.csv", ["file_name", "split"], rows))
    assert task.expected_clips == 1000 and not task.expected_parts


@pytest.mark.parametrize(("column", "expected"), [("split", 930), ("fold", 1000)])
def test_the_filtered_lists_in_a_table_are_known_by_their_number(tmp_path: Path, column: str, expected: int) -> None:
    names = [f"rock/rock.{index:05d}.wav" for index in range(930)]
    touch(tmp_path / "genres", *names)
    words = ["train"] * 443 + ["valid"] * 197 + ["test"] * 290
    table = write_rows(tmp_path / "mine.csv", ["file_name", column], [*zip(names, words, strict=True)])
    if column == "fold":
        table = write_rows(tmp_path / "mine.csv", ["file_name", "fold"], [[n, i % 10] for i, n in enumerate(names)])
    task = load_task("gtzan", tmp_path, split=table)
    assert task.expected_clips == expected
    assert task.expected_parts == ({"train": 443, "valid": 197, "test": 290} if expected == 930 else {})


def test_an_empty_folder_does_not_hide_the_genres(tmp_path: Path) -> None:
    touch(tmp_path, *(f"genres_original/blues/blues.{index:05d}.wav" for index in range(10)), "genres/blues/.DS_Store")
    assert len(load_task("gtzan", tmp_path).clips) == 10


def test_folds_of_a_table(root: Path) -> None:
    rows = [[f"blues.{index:05d}.wav", index % 10 + 1] for index in range(100)]
    task = load_task("gtzan", root, split=write_rows(root / "folds.csv", ["file_name", "fold"], rows))
    assert task.folds == tuple(map(str, range(1, 11)))


def test_the_unreadable_file_is_listed_and_reported_when_read(root: Path, write_wav: Callable[..., Path]) -> None:
    folder = next(path for path in root.iterdir() if path.name.startswith("genres"))
    broken = next((folder / "jazz").glob("jazz.00054.*"))
    broken.write_bytes(b"\x00 no header, as in the common copy" * 100)
    clip = next(clip for clip in load_task("gtzan", root).clips if clip.path == broken)
    assert clip == Clip(broken, ("jazz",), clip.part)
    with pytest.raises(AudioError, match=r"jazz\.00054"):
        read_audio(clip.path)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["blues/blues.00000.wav"], ["no folder genres or genres_original"]),
        (["genres/blues/notes.txt"], ["holds no audio", "blues.00000.wav"]),
        (["genres/blues/song.wav"], ["song.wav", "blues/blues.00000.wav"]),
        (["genres/blues/jazz.00001.wav"], ["jazz.00001.wav", "not named as GTZAN's"]),
        (["genres/blues/blues.00001.wav", "genres/blues/blues.00001.au"], ["blues/blues.00001 in two formats"]),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, names: list[str], words: list[str]) -> None:
    touch(tmp_path, *names)
    for word in words:
        assert word in refusal("gtzan", tmp_path)
