"""Clips in files and archives: which are read, and which are not those of the index."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from byol_a.data.arrays import to_int16
from byol_a.data.clips import FileClips
from byol_a.data.index import AudioIndex
from byol_a.data.io import read_audio
from byol_a.data.scan.scan import scan
from byol_a.errors import AudioError

WriteWav = Callable[..., Path]


def pack_tar(path: Path, files: dict[str, Path]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, file in files.items():
            archive.add(file, name)
    return path


def whole(clips: FileClips, row: int) -> np.ndarray:
    return clips.read(row, 0, 1 << 20)


@pytest.fixture
def sounds(tmp_path: Path, write_wav: WriteWav) -> list[Path]:
    """Three files of the same length in bytes."""
    return [write_wav(tmp_path / f"{number}.wav", 0.1, seed=number) for number in range(3)]


@pytest.fixture
def index(tmp_path: Path, sounds: list[Path]) -> AudioIndex:
    """Two members of an archive, as scanned."""
    (tmp_path / "tars").mkdir()
    pack_tar(tmp_path / "tars" / "s.tar", {"a.wav": sounds[0], "b.wav": sounds[1]})
    return scan([tmp_path / "tars"], tmp_path / "index.parquet", workers=1, progress=False).index


def test_an_index_of_another_program_needs_offset_and_size_alone(index: AudioIndex, sounds: list[Path]) -> None:
    clips = FileClips(AudioIndex(index.table.select(["root", "path", "offset", "size"])), 16000)
    for row in range(2):
        np.testing.assert_array_equal(whole(clips, row), to_int16(read_audio(sounds[row])))
    without = FileClips(AudioIndex(index.table.select(["root", "path", "offset"])), 16000)
    with pytest.raises(AudioError, match="has its offset and not its size"):
        without.read(0, 0, 100)


def test_an_archive_with_other_members_is_not_read(tmp_path: Path, index: AudioIndex, sounds: list[Path]) -> None:
    archive = tmp_path / "tars" / "s.tar"
    before = archive.stat()
    os.utime(archive, ns=(0, 1))  # a copy: the same members at another time
    assert len(whole(FileClips(index, 16000), 0)) == 1600
    pack_tar(archive, {"b.wav": sounds[1], "a.wav": sounds[0]})  # of the same sizes
    assert archive.stat().st_size == before.st_size
    clips = FileClips(index, 16000)
    for _ in range(2):
        with pytest.raises(AudioError, match=r"s.tar/a.wav: changed: the archive is not the one that was scanned"):
            clips.read(0, 0, 100)
    archive.write_bytes(bytes(before.st_size))
    with pytest.raises(AudioError, match="changed"):
        clips.read(1, 0, 100)


def test_sizes_count_only_where_a_scan_found_them(tmp_path: Path, sounds: list[Path], write_wav: WriteWav) -> None:
    names = AudioIndex.from_files(sounds)
    scanned = AudioIndex(names.table.append_column("frames", pa.array([1600] * 3, pa.int64())))
    write_wav(sounds[0], 0.2)
    assert len(whole(FileClips(names, 16000), 0)) == 3200
    with pytest.raises(AudioError, match="changed: 6444 bytes, 3244 when it was scanned"):
        whole(FileClips(scanned, 16000), 0)
