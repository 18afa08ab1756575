"""Packing a group of shards: what a worker does, without PyTorch and in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from byol_a.data.arrays import to_int16
from byol_a.data.io import open_audio, unclipped_blocks
from byol_a.data.store.tape import SAMPLE, shard_path
from byol_a.errors import AudioError
from byol_a.files import atomic_file, checksum, write_json
from byol_a.words import one_line

CHECKSUM_BYTES = 16
UNREADABLE = "unreadable"  # reasons that begin so may be gone another time
_BLOCK_SECONDS = 30.0
_SILENCE = bytes(1 << 20)


class Clip(NamedTuple):
    """A clip to pack: where its file is, what a scan found it to be, and its place on the tape."""

    row: int
    name: str
    path: str  # the file, or the archive that holds it
    section: tuple[int, int] | None  # offset and size in the archive
    size: int  # of the file in bytes; -1: not known, or in an archive
    mtime_ns: int  # -1: not known
    frames: int
    sample_rate: int
    start: int
    length: int


@dataclass(frozen=True)
class Job:
    """A group of shards to write.

    Attributes:
        number: of the job.
        shards: folder of the shards.
        account: file to write last: what was packed.
        counts: file of one int64 for each job, in which the clips that are done are counted.
        first_shard: number of the first one.
        bounds: where on the tape the shards begin, and where the last of them ends.
        sample_rate: of the store.
        clips: what to pack, in the order of their starts; without gaps.
        roots: the folders below which they are.
    """

    number: int
    shards: Path
    account: Path
    counts: Path
    first_shard: int
    bounds: list[int]
    sample_rate: int
    clips: list[Clip]
    roots: list[str]


class WriteError(NamedTuple):
    """Why a shard could not be written."""

    number: int  # of the error, as in `errno`
    text: str


class RootGone(NamedTuple):
    """A shard was not written, because the folder of its clips is not there any more."""

    root: str


class _RootGoneError(Exception):
    pass


def clip_digest() -> blake2b:
    """A new hash for the int16 samples of one clip."""
    return blake2b(digest_size=CHECKSUM_BYTES)


def is_gone(root: str) -> bool:
    """Whether a folder is not there, or is empty: the place of a drive that is not mounted."""
    try:
        with os.scandir(root) as entries:
            return next(entries, None) is None
    except PermissionError:  # its files may be read nevertheless
        return False
    except OSError:
        return True


def pack_shards(job: Job) -> WriteError | RootGone | None:
    """Write the shards of a job, then their account; no half of either is left if that fails.

    A clip that cannot be used leaves silence on the tape and a reason in the account.
    """
    try:
        with ExitStack() as stack:
            numbers = range(job.first_shard, job.first_shard + len(job.bounds) - 1)
            partials = [stack.enter_context(atomic_file(shard_path(job.shards, number))) for number in numbers]
            account = _write(job, partials)
        write_json(job.account, account)
    except _RootGoneError as error:
        return RootGone(str(error))
    except OSError as error:
        return WriteError(error.errno or 0, error.strerror or str(error))
    return None


def _write(job: Job, paths: list[Path]) -> dict[str, Any]:
    checksums, bad, clipped = bytearray(), [], []
    with _Counter(job) as counter, _TapeWriter(paths, job.bounds) as tape:
        for clip in job.clips:
            try:
                digest, is_clipped = _pack_clip(clip, job, tape)
            except AudioError as error:
                if error.reason.startswith(UNREADABLE):
                    _require_root(clip, job)
                tape.silence(clip.start)
                # A reason may quote a name that is not text.
                bad.append([clip.row, error.reason.encode("utf-8", "backslashreplace").decode()])
                digest, is_clipped = bytes(CHECKSUM_BYTES), False
            checksums += digest
            if is_clipped:
                clipped.append(clip.row)
            counter.advance()
    shards = [
        {"samples": end - begin, "checksum": checksum(path)}
        for begin, end, path in zip(job.bounds, job.bounds[1:], paths, strict=False)
    ]
    return {"shards": shards, "checksums": checksums.hex(), "bad": bad, "clipped": clipped}


def _require_root(clip: Clip, job: Job) -> None:
    for root in job.roots:
        if clip.name.startswith(root.rstrip("/") + "/") and is_gone(root):
            raise _RootGoneError(root)


def _pack_clip(clip: Clip, job: Job, tape: _TapeWriter) -> tuple[bytes, bool]:
    """Write the samples of a clip; their checksum, and whether any was louder than full scale."""
    _require_unchanged(clip)
    digest, position, is_clipped = clip_digest(), clip.start, False
    for wave in _decode(clip, job.sample_rate):
        is_clipped = is_clipped or bool(wave.max() > 1 or wave.min() < -1)
        samples = to_int16(wave).astype(SAMPLE, copy=False)
        if position + len(samples) > clip.start + clip.length:
            raise AudioError(clip.name, "changed: it is longer than when it was scanned")
        tape.write(position, samples)
        digest.update(samples.data)
        position += len(samples)
    if position < clip.start + clip.length:
        raise AudioError(clip.name, "changed: it is shorter than when it was scanned")
    _require_unchanged(clip)  # while it was being read
    return digest.digest(), is_clipped


def _require_unchanged(clip: Clip) -> None:
    try:
        status = os.stat(clip.path)  # noqa: PTH116 (a Path costs more than the look at the file)
    except OSError as error:
        raise AudioError(clip.name, f"unreadable: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:
        raise AudioError(clip.name, f"unreadable: {error}") from error
    if clip.size not in (-1, status.st_size):
        raise AudioError(clip.name, f"changed: {status.st_size} bytes, {clip.size} when it was scanned")
    if clip.mtime_ns not in (-1, status.st_mtime_ns):
        raise AudioError(clip.name, "changed: written to since it was scanned")


def _decode(clip: Clip, sample_rate: int) -> Iterator[np.ndarray]:
    """The samples of a clip in blocks, not clipped."""
    try:
        with open_audio(clip.path, section=clip.section) as audio:
            if (audio.info.frames, audio.info.sample_rate) != (clip.frames, clip.sample_rate):
                raise AudioError(clip.name, "changed: another length or rate than when it was scanned")
            yield from unclipped_blocks(audio, sample_rate, _BLOCK_SECONDS)
    except AudioError:
        raise
    except Exception as error:  # one strange file among millions is not to end days of packing
        raise AudioError(clip.name, f"unreadable: {type(error).__name__}: {one_line(error)}") from error


class _Counter:
    """Counts the clips of a job in a file that the parent reads, which works however processes are started."""

    def __init__(self, job: Job) -> None:
        self._job, self._done = job, 0

    def __enter__(self) -> _Counter:
        self._file = self._job.counts.open("rb+", buffering=0)
        self._write()
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()

    def advance(self) -> None:
        self._done += 1
        self._write()

    def _write(self) -> None:
        self._file.seek(8 * self._job.number)
        self._file.write(self._done.to_bytes(8, "little"))


class _TapeWriter:
    """Writes samples at positions of the tape into the files of consecutive shards; what is not written is silence.

    A context manager: files are made when entering, with their headers and in their full length. One at a time is
    open, for a long clip may run over more of them than a process may have open.
    """

    def __init__(self, paths: Sequence[Path], bounds: list[int]) -> None:
        self._paths, self._bounds = paths, bounds
        self._begins: list[int] = []  # of the samples in each file, in bytes
        self._written = bounds[0]  # everything from here on is still silence

    def __enter__(self) -> _TapeWriter:
        for path, begin, end in zip(self._paths, self._bounds, self._bounds[1:], strict=False):
            with path.open("wb") as file:
                header: Any = {"descr": SAMPLE.str, "fortran_order": False, "shape": (end - begin,)}
                np.lib.format.write_array_header_1_0(file, header)
                self._begins.append(file.tell())
                file.truncate(file.tell() + (end - begin) * SAMPLE.itemsize)
        self._open, self._file = 0, self._paths[0].open("rb+")
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()

    def _file_of(self, shard: int) -> IO[bytes]:
        if shard != self._open:
            self._file.close()
            self._open, self._file = shard, self._paths[shard].open("rb+")
        return self._file

    def write(self, start: int, samples: np.ndarray) -> None:
        """Put samples at a position."""
        shard = int(np.searchsorted(self._bounds, start, side="right")) - 1
        while len(samples):
            begin, end = self._bounds[shard : shard + 2]
            piece = samples[: end - start]
            file, place = self._file_of(shard), self._begins[shard] + (start - begin) * SAMPLE.itemsize
            if file.tell() != place:  # seeking empties the buffer
                file.seek(place)
            file.write(piece.data)
            start, samples, shard = start + len(piece), samples[len(piece) :], shard + 1
        self._written = max(self._written, start)

    def silence(self, start: int) -> None:
        """Take back what was written from a position on."""
        while start < self._written:
            zeros = np.frombuffer(_SILENCE, SAMPLE)[: self._written - start]
            self.write(start, zeros)
            start += len(zeros)
