"""Where clips lie, and how a part of one is read: from files, each decoded when needed, or from a packed store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from byol_a.data.arrays import to_int16
from byol_a.data.index import AudioIndex
from byol_a.data.io import AudioFile, open_audio
from byol_a.errors import AudioError, UsageError

if TYPE_CHECKING:
    from byol_a.data.store.audio_store import AudioStore


class Clips(Protocol):
    """A sequence of clips from which crops are read; a worker shares its memory with the process that opened it."""

    sample_rate: int  # Hz, of the crops

    def __len__(self) -> int:
        """How many clips there are."""

    def name(self, row: int) -> str:
        """What to call a clip in a report: the path of its file."""

    def will_read(self, row: int, position: int, length: int) -> None:
        """Announce a `read`, so that what it takes can be fetched from a disk beside other such things."""

    def read(self, row: int, position: int, length: int) -> np.ndarray:
        """A crop of a clip: int16 (S,), S = `length`, or less where the clip is shorter.

        Args:
            row: number of the clip.
            position: a uniform 64-bit integer, which becomes the place in the clip.
            length: in samples.

        Raises:
            AudioError: if the clip cannot be used.
        """


def crop_start(position: int, spare: int) -> int:
    """Where a crop begins: uniform over the `spare + 1` places, from a uniform 64-bit integer."""
    return position * (spare + 1) >> 64 if spare > 0 else 0


class FileClips:
    """Clips decoded from their files, or from members of tar archives, at the moment they are asked for.

    Only the samples of the crop are decoded where the format allows it. A file found to be no good as a whole is not
    opened again. A file that is not as long in bytes as a scan found it is not used: its measurements are another's.
    Nor is what lies in an archive that has another member there, or none.

    Args:
        index: the files.
        sample_rate: in Hz; files at other rates are resampled.
    """

    def __init__(self, index: AudioIndex, sample_rate: int) -> None:
        if sample_rate < 1:
            raise UsageError(f"a sample rate of {sample_rate} Hz is not possible")
        self.index, self.sample_rate = index, sample_rate
        self._sizes, self._is_scanned = index.array("size"), index.has_measurements
        self._offsets = index.array("offset") if "offset" in index.table.column_names else None
        self._unusable: dict[int, str] = {}  # reasons, of files that cannot be used whatever the position

    def __len__(self) -> int:
        return len(self.index)

    def name(self, row: int) -> str:
        """See `Clips`."""
        return self.index.name(row)

    def will_read(self, row: int, position: int, length: int) -> None:
        """See `Clips`. Where the samples of a crop lie in a file is known only once it is open."""

    def read(self, row: int, position: int, length: int) -> np.ndarray:
        """See `Clips`."""
        with self._open(row) as audio:
            start = crop_start(position, audio.samples_at(self.sample_rate) - length)
            return to_int16(audio.segment(start, length, self.sample_rate))

    def _open(self, row: int) -> AudioFile:
        name = self.index.name(row)
        if row in self._unusable:
            raise AudioError(name, self._unusable[row])
        size = int(self._sizes[row])
        try:
            if self._offsets is not None and self._offsets[row] >= 0:
                if size < 0:
                    raise AudioError(name, "unsupported: the index has its offset and not its size")
                archive, member = self.index.archive(row)
                return open_audio(archive, section=(int(self._offsets[row]), size), member=member)
            audio = open_audio(name)
        except AudioError as error:
            # Only this is remembered: damage met while decoding may lie outside another crop of the same
            # file, and what is unreadable now may be readable again, as on a network drive.
            if not error.reason.startswith("unreadable"):
                self._unusable[row] = error.reason
            raise AudioError(name, error.reason) from error
        if self._is_scanned and size not in (-1, audio.size):
            audio.close()
            self._unusable[row] = reason = f"changed: {audio.size} bytes, {size} when it was scanned"
            raise AudioError(name, reason)
        return audio


class StoreClips:
    """Clips of a packed store, read through its memory maps.

    Args:
        store: the store.
        rows: which of its clips to use, in this order; all if None.
    """

    def __init__(self, store: AudioStore, rows: np.ndarray | None = None) -> None:
        self.store, self.sample_rate = store, store.sample_rate
        self._rows = rows
        self._starts = store.starts if rows is None else store.starts[rows]
        self._lengths = store.lengths if rows is None else store.lengths[rows]

    def __len__(self) -> int:
        return len(self._starts)

    def name(self, row: int) -> str:
        """See `Clips`."""
        return self.store.index.name(row if self._rows is None else int(self._rows[row]))

    def will_read(self, row: int, position: int, length: int) -> None:
        """See `Clips`."""
        self.store.tape.will_read(*self._place(row, position, length))

    def read(self, row: int, position: int, length: int) -> np.ndarray:
        """See `Clips`."""
        return self.store.tape.read(*self._place(row, position, length))

    def _place(self, row: int, position: int, length: int) -> tuple[int, int]:
        """Start and length of a crop on the tape."""
        # Python integers: the product of the position and the length has more than 64 bits.
        available = int(self._lengths[row])
        start = int(self._starts[row]) + crop_start(position, available - length)
        return start, min(length, available)


def open_files(files: Sequence[str | os.PathLike[str]], sample_rate: int) -> FileClips:
    """Clips of a plain list of audio files.

    Raises:
        UsageError: without files.
    """
    if not files:
        raise UsageError("there is no audio file to crop; give at least one")
    return FileClips(AudioIndex.from_files(files), sample_rate)
