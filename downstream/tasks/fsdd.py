"""Free Spoken Digit Dataset: who says which digit."""

from __future__ import annotations

import re
from pathlib import Path

from byol_a.errors import UsageError
from downstream.tasks.base import Clip, Task, expect_folder

FILE_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<index>\d+)")
OFFICIAL_TEST_INDICES = range(5)


def load(root: Path, label: str = "digit") -> Task:
    """Read `recordings/{digit}_{speaker}_{index}.wav`.

    Args:
        label: `"digit"` is scored leaving one speaker out; `"speaker"` on the official test part, the
            recordings of index 0 to 4.
    """
    if label not in ("digit", "speaker"):
        raise UsageError(f"fsdd has no label {label!r}; there are digit and speaker")
    recordings = expect_folder(root / "recordings", "the folder of FSDD's recordings")
    clips = []
    for path in sorted(recordings.glob("[!.]*.wav")):
        name = FILE_NAME.fullmatch(path.stem)
        if name is None:
            raise UsageError(f"{path} is not named as FSDD's recordings are: digit_speaker_index.wav")
        if label == "digit":
            clips.append(Clip(path, (name["digit"],), part=name["speaker"], group=name["speaker"]))
        else:
            part = "test" if int(name["index"]) in OFFICIAL_TEST_INDICES else "train"
            clips.append(Clip(path, (name["speaker"],), part=part))
    if not clips:
        raise UsageError(f"{recordings} holds no .wav file; FSDD's digit_speaker_index.wav were expected there")
    speakers = len({clip.part for clip in clips})
    return Task(
        name="fsdd",
        label=label,
        clips=tuple(clips),
        classes=tuple(sorted({clip.labels[0] for clip in clips})),
        split=f"leave one of {speakers} speakers out" if label == "digit" else "official: index 0 to 4 is test",
        expected_clips=3000,
    )
