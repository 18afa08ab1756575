"""An open audio file: decoding all of it, a part, or block after block, and what can be wrong with it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from byol_a.data.arrays import HIGHEST_RATE, clip, mean_of_channels, resample, resampled_length
from byol_a.data.containers import Truncated, check_container, is_mp3, last_ogg_page_start
from byol_a.data.formats import UNSUPPORTED_EXTENSIONS, unsupported_reason
from byol_a.data.quiet import quiet_stderr
from byol_a.data.section import Section, open_section
from byol_a.errors import AudioError, UsageError, require

# Periods of the lower rate that soxr's HQ filter reaches to either side (beyond it, below 1e-6).
_FILTER_REACH = 160
# MP3 frames lean on bits of earlier frames: this many samples before the wanted ones are decoded as well.
_MP3_PREROLL = 16 * 1152
# The longest Vorbis block, which the first samples after a seek lack.
_VORBIS_PREROLL = 8192
# Two MP3 frames: how far an encoder's count may be off without anything missing.
_MP3_SLACK = 2 * 1152
_BLOCK_SAMPLES = 1 << 20
# Decoded at once, of all channels together: memory grows with what is in a file, never with what its header claims.
_VALUES_AT_ONCE = 1 << 22
# Below, a rate in Hz is damage, and resampling would make hours of a second.
_LOWEST_RATE = 100
# Float samples are cut off here before resampling, whose filter would overflow beyond 1e37.
_LOUDEST = np.float32(1e9)
# libsndfile says this much or more where a stream does not know its own length.
_UNKNOWN_FRAMES = 1 << 62


@dataclass(frozen=True)
class AudioInfo:
    """What a file holds: rate in Hz, channels, frames (samples of each channel), and libsndfile's names."""

    sample_rate: int
    channels: int
    frames: int
    format: str
    subtype: str

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


class AudioFile:
    """An open audio file; use `open_audio`. Decodes all of it, a part, or block after block.

    Samples are the mean of the channels, resampled by soxr (HQ), then clipped to [-1, 1]: a float file
    louder than full scale is cut off there, and so is the overshoot of resampling.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        info: AudioInfo | None = None,
        section: tuple[int, int] | None = None,
        member: str | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self._section, self._member = section, member
        self._soundfile = soundfile = require("soundfile", "reading audio files")
        self._decode_errors = (soundfile.SoundFileError, ValueError, OSError, MemoryError)
        self._raw, self._size = self._open()
        try:
            self._is_mp3 = is_mp3(self._raw.read(3))
            self._handle = self._decoder()
            self._subtype: str = self._handle.subtype
            self._at = 0  # the sample that the decoder gives next
            self._is_int16 = self._subtype == "PCM_16"
        except BaseException:
            self._raw.close()
            raise
        try:
            self.info = info or self._read_info()
        except BaseException:
            self.close()
            raise

    def _open(self) -> tuple[Any, int]:
        try:
            status = os.stat(self.path)  # noqa: PTH116 (a Path costs more than the look at the file)
            if stat.S_ISDIR(status.st_mode):
                raise AudioError(self.path, "unreadable: it is a folder")
            if not stat.S_ISREG(status.st_mode):
                raise AudioError(self.path, "unreadable: not a regular file")
            if status.st_size == 0:
                raise AudioError(self.path, "empty")
            file = open(self.path, "rb", buffering=0)  # noqa: PTH123, SIM115
            if self._section is None:
                return file, os.fstat(file.fileno()).st_size
            return open_section(file, self.path, self._section, self._member), self._section[1]
        except (OSError, ValueError) as error:  # ValueError: a null byte in the name
            reason = getattr(error, "strerror", None) or str(error)
            raise AudioError(self.path, f"unreadable: {reason.lower()}") from error

    def _decoder(self) -> Any:
        try:
            view = check_container(self._raw, self._size)
            self._raw.seek(0)
            with self._quiet():
                # The open file goes to libsndfile as its descriptor: one open for the check and the decoding.
                source = view or (self._raw if isinstance(self._raw, Section) else self._raw.fileno())
                handle = self._soundfile.SoundFile(source, closefd=False)
            self._can_seek = handle.seekable()
            # soundfile seeks to where it already is after every read of a seekable file. That is slow,
            # and in an MP3 it drops the decoder's state, so that the next block begins with a glitch.
            handle.seekable = lambda: False
            return handle
        except Truncated as error:
            raise AudioError(self.path, f"truncated: {error}") from error
        except OSError as error:
            raise AudioError(self.path, f"unreadable: {(error.strerror or str(error)).lower()}") from error
        except self._decode_errors as error:
            extension = Path(self.path).suffix.lower()
            if extension in UNSUPPORTED_EXTENSIONS:
                reason = unsupported_reason(extension)
            else:
                reason = f"not audio: {_sentence(error)}"
            raise AudioError(self.path, reason) from error

    def _read_info(self) -> AudioInfo:
        handle = self._handle
        info = AudioInfo(handle.samplerate, handle.channels, handle.frames, handle.format, self._subtype)
        if info.frames >= _UNKNOWN_FRAMES:
            info = replace(info, frames=sum(map(len, self._decode_to_end(_BLOCK_SAMPLES))))
        if info.frames <= 0:
            raise AudioError(self.path, "empty: no samples")
        if not _LOWEST_RATE <= info.sample_rate <= HIGHEST_RATE:
            raise AudioError(self.path, f"not audio: a sample rate of {info.sample_rate} Hz")
        return info

    def __enter__(self) -> AudioFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._handle.close()
        self._raw.close()

    def whole(self, sample_rate: int | None) -> np.ndarray:
        """All samples at `sample_rate` (the file's own if None): float32 (S,)."""
        blocks = list(self.native_blocks(_BLOCK_SAMPLES))
        wave = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        return clip(resample(wave, self.info.sample_rate, sample_rate or self.info.sample_rate))

    def segment(self, start: int, length: int, sample_rate: int) -> np.ndarray:
        """Samples `start` to `start + length` of `whole(sample_rate)`, within 1e-5, decoding little more.

        Fewer come back where the file ends before.
        """
        if start < 0 or length < 0:
            raise UsageError(f"a segment cannot start at {start} with length {length}; both must be >= 0")
        stop = min(start + length, self.samples_at(sample_rate))
        if start >= stop:
            return np.zeros(0, np.float32)
        rate = self.info.sample_rate
        if rate == sample_rate:
            return clip(self._decode(start, stop - start))
        # The output's grid meets the file's every `down` file samples, `up` output samples. Only by
        # beginning at such a point are the segment's samples taken at the same times as the whole's.
        common = gcd(rate, sample_rate)
        up, down = sample_rate // common, rate // common
        margin = -(-_FILTER_REACH * max(up, down) // down)  # in output samples
        meeting = max(0, start - margin) // up
        first, last = meeting * down, min(self.info.frames, -(-(stop + margin) * down // up))
        wave = resample(self._decode(first, last - first), rate, sample_rate)
        return clip(wave[start - meeting * up : stop - meeting * up])

    @property
    def size(self) -> int:
        """Bytes of the file, or of the section of it that was opened."""
        return self._size

    def samples_at(self, sample_rate: int) -> int:
        """The length of `whole(sample_rate)`."""
        return resampled_length(self.info.frames, self.info.sample_rate, sample_rate)

    def native_blocks(self, block_samples: int) -> Iterator[np.ndarray]:
        """The whole file at its own rate in blocks, checked to be as long as the file says, not clipped."""
        done = 0
        for block in self._decode_to_end(block_samples):
            block = block[: self.info.frames - done]
            done += len(block)
            if len(block):
                yield block
        missing = self._forgive(done, self.info.frames)
        if missing:
            yield np.zeros(missing, np.float32)

    def _decode_to_end(self, block_samples: int) -> Iterator[np.ndarray]:
        self._seek(0)
        while True:
            block = self._read(block_samples)
            if len(block):
                yield block
            if len(block) < block_samples:
                return

    def _decode(self, first: int, count: int) -> np.ndarray:
        """Samples `first` to `first + count` at the file's own rate, mono, not clipped."""
        preroll = self._preroll(first)
        self._seek(first - preroll)
        wave = self._read(preroll + count)[preroll:]
        missing = self._forgive(first + len(wave), first + count)
        return np.pad(wave, (0, missing)) if missing else wave

    def _preroll(self, first: int) -> int:
        """How many samples before `first` to decode as well, for `first` and the rest to come out right."""
        if self._is_mp3:
            return min(first, _MP3_PREROLL)
        if self._subtype == "VORBIS" and first:
            # libsndfile does not find the right place within the last page (libsndfile issue 885).
            try:
                start = min(first, last_ogg_page_start(self._raw, self._size))
            except OSError as error:  # a failing disk, a network drive that went away
                raise AudioError(self.path, f"unreadable: {(error.strerror or str(error)).lower()}") from error
            return first - max(0, start - _VORBIS_PREROLL)
        return 0

    def _forgive(self, done: int, wanted: int) -> int:
        """How many samples to fill up with silence; raises where something is missing indeed."""
        missing = wanted - done
        if missing > (_MP3_SLACK if self._is_mp3 else 0):
            raise AudioError(self.path, f"truncated: {done} of {self.info.frames} samples")
        return missing

    def _seek(self, frame: int) -> None:
        if self._at == frame:
            return
        try:
            if self._at and (self._subtype == "VORBIS" or not self._can_seek):
                # Of Vorbis, a second seek is off by a block; only the first after opening can be relied on.
                self._handle.close()
                self._handle, self._at = self._decoder(), 0
            if self._can_seek:
                with self._quiet():
                    self._at = self._handle.seek(frame)
        except self._decode_errors as error:
            raise AudioError(self.path, f"truncated: {_sentence(error)}") from error
        while self._at < frame and len(self._read(min(frame - self._at, _BLOCK_SAMPLES))):
            pass  # telephone codings (GSM 6.10, G.721) can only be decoded from the beginning

    def _read(self, count: int) -> np.ndarray:
        """The next samples, at most `count`, as the mean of the channels: float32 (S,)."""
        count = max(0, min(count, self._handle.frames - self._at))
        at_once = max(1, _VALUES_AT_ONCE // self._handle.channels)
        pieces = []
        while count:
            wanted = min(count, at_once)
            pieces.append(self._read_at_once(wanted))
            count -= wanted
            if len(pieces[-1]) < wanted:
                break
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)

    def _read_at_once(self, count: int) -> np.ndarray:
        # Reading int16 and scaling here is twice as fast as libsndfile's own conversion, and the same.
        try:
            with self._quiet():
                block = self._handle.read(count, dtype="int16" if self._is_int16 else "float32", always_2d=True)
        except self._decode_errors as error:
            raise AudioError(self.path, f"truncated: {_sentence(error)}") from error
        self._at += len(block)
        with np.errstate(over="ignore", invalid="ignore"):  # said below
            wave = mean_of_channels(block)
        if self._is_int16:
            wave *= np.float32(1 / 32768)
        elif len(wave):
            lowest, highest = wave.min(), wave.max()  # NaN if there is one
            if not (lowest > -np.inf and highest < np.inf):
                raise AudioError(self.path, "contains NaN" if np.isnan(lowest) else "contains infinity")
            if lowest < -_LOUDEST or highest > _LOUDEST:
                np.clip(wave, -_LOUDEST, _LOUDEST, out=wave)
        return wave

    def _quiet(self) -> AbstractContextManager[None]:
        return quiet_stderr if self._is_mp3 else nullcontext()


def _sentence(error: BaseException) -> str:
    text = getattr(error, "error_string", None) or str(error)
    return text.removeprefix("Error : ").strip().rstrip(".").lower() or type(error).__name__
