"""GTZAN (Tzanetakis and Cook 2002): genres of music, best divided by lists that know its faults and artists."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

from byol_a.data.formats import AUDIO_EXTENSIONS
from byol_a.errors import UsageError
from downstream.tasks.base import PARTS, Clip, Task
from downstream.tasks.division import Division, divide

FOLDERS = ("genres", "genres_original")
LISTS = tuple(f"{part}_filtered.txt" for part in ("train", "valid", "test"))
FILTERED_PARTS = {"train": 443, "valid": 197, "test": 290}  # of Kereliuk et al. (2015, arXiv 1507.04761)
SHARES = {"train": 0.5, "valid": 0.2, "test": 0.3}  # about those of the lists
FILE_NAME = re.compile(r"(?P<genre>[a-z]+)\.\d{5}")


def load(root: Path, split: str | Path | None = None) -> Task:
    """Read `genres/<genre>/<genre>.00000.wav` (or `genres_original/`, or .au files).

    The file jazz.00054 cannot be read in common copies; it is listed as the others are, and reported where
    audio is read.

    Args:
        split: a folder that holds the fault-filtered, artist-aware lists (`train_filtered.txt`,
            `valid_filtered.txt`, `test_filtered.txt`, with `blues/blues.00029.wav` a line), or another list, see
            `downstream.tasks.division`. Three lists of those names in `root` are taken without being asked.
            Without any, each genre is divided here, which knows nothing of artists.
    """
    folders = [root / name for name in FOLDERS if (root / name).is_dir()]
    if not folders:
        raise UsageError(
            f"{root} has no folder {' or '.join(FOLDERS)}; one of them was expected to hold GTZAN's genres"
        )
    clips, names = _read(next((folder for folder in folders if any(folder.glob("*/*.?????.*"))), folders[0]))
    if split is None and all((root / name).is_file() for name in LISTS):
        split = root
    stems = [stem for _, stem in names]
    what = "clips of each genre, artists not kept apart,"
    division = divide(clips, names, split, SHARES, what, stems, by_class=True)
    filtered = split is not None and _is_filtered(Path(split), division)
    return Task(
        name="gtzan",
        label="genre",
        clips=division.clips,
        classes=tuple(sorted({clip.labels[0] for clip in division.clips})),
        split=division.source,
        expected_clips=sum(FILTERED_PARTS.values()) if filtered else 1000,
        expected_parts=FILTERED_PARTS if filtered else {},
        left_out=division.left_out,
    )


def _is_filtered(split: Path, division: Division) -> bool:
    """Whether a user's lists are the fault-filtered ones, by their names or by how many clips the parts have."""
    if all((split / name).is_file() for name in LISTS):
        return True
    in_parts = {clip.part for clip in division.clips} <= set(PARTS)
    return in_parts and len(division.clips) == sum(FILTERED_PARTS.values())


def _read(folder: Path) -> tuple[list[Clip], list[tuple[str, str]]]:
    """The clips, and what lists call each: with its folder, and by its name alone."""
    clips, names = [], []
    for genre in sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."):
        for name in sorted(entry.name for entry in os.scandir(folder / genre)):
            stem, extension = os.path.splitext(name)  # noqa: PTH122
            if name.startswith(".") or extension.lower() not in AUDIO_EXTENSIONS:
                continue
            found = FILE_NAME.fullmatch(stem)
            if found is None or found["genre"] != genre:
                raise UsageError(
                    f"{folder / genre / name} is not named as GTZAN's clips are; {genre}/{genre}.00000.wav and so on "
                    f"were expected in {folder}"
                )
            clips.append(Clip(folder / genre / name, (genre,), ""))
            names.append((f"{genre}/{stem}", stem))
    if not clips:
        raise UsageError(f"{folder} holds no audio; blues/blues.00000.wav and so on were expected there")
    if len(names) > len(set(names)):
        twice = next(name for name, after in itertools.pairwise(names) if name == after)
        raise UsageError(f"{folder} holds {twice[0]} in two formats; keep one of them there")
    return clips, names
