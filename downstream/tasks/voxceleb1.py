"""VoxCeleb1 (Nagrani et al. 2017, arXiv 1706.08612): who of 1,251 people speaks, with the official split."""

from __future__ import annotations

import os
import re
from pathlib import Path

from byol_a.errors import UsageError
from downstream.tasks.base import Clip, Task, expect_folder, read_lines

LIST = "iden_split.txt"
PARTS_BY_NUMBER = {"1": "train", "2": "valid", "3": "test"}
LINE = re.compile(r"(?P<part>[123])\s+(?P<path>(?P<speaker>id\d+)/(?P<video>[^/]+)/[^/]+)")


def load(root: Path, split: str | Path | None = None) -> Task:
    """Read `iden_split.txt` (`<1|2|3> <path below wav>`) and `wav/id1xxxx/<video>/00001.wav`.

    The official division keeps a video in one part, so a clip's group is its video.

    Args:
        split: where the list lies, if not in `root`.
    """
    listing = root / LIST if split is None else Path(split)
    lines = read_lines(listing, "the official list of VoxCeleb1's identification task (--split says where it is)")
    audio = os.fspath(expect_folder(root / "wav", "the folder of VoxCeleb1's speakers, those of dev and test in one,"))
    clips: list[Clip] = []
    part_of: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        found = LINE.fullmatch(line)
        if found is None:
            if not line:
                continue
            raise UsageError(
                f"{listing}, line {number} is {line[:80]!r}; '<1, 2 or 3> id10001/<video>/00001.wav' was expected"
            )
        path, part = found["path"], PARTS_BY_NUMBER[found["part"]]
        if part_of.setdefault(path, part) != part:
            raise UsageError(f"{listing}, line {number} puts {path} into {part}, and it is in {part_of[path]} already")
        group = f"{found['speaker']}/{found['video']}"
        clips.append(Clip(Path(audio, path), (found["speaker"],), part, group))
    return Task(
        name="voxceleb1",
        label="speaker",
        clips=tuple(clips),
        classes=tuple(sorted({clip.labels[0] for clip in clips})),
        split=f"official train, valid and test ({listing.name})" if split is None else f"given by {listing.name}",
    )
