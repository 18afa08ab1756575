"""What audio containers say about their own length, for where libsndfile takes a cut file for a whole one.

libsndfile silently shortens a cut WAV, AIFF or Ogg file, reads nothing from a WAV written to a pipe,
and stops an MP3 without a frame count at a guess made from its first frame.
"""

from __future__ import annotations

import io
import os
from functools import lru_cache
from typing import BinaryIO

from byol_a.data.mp3 import LONGEST_FRAME, FirstFrame, count_frames, find_first_frame

# Some writers count a header into the size of the data; what is missing then is no sound.
_HEADER_SLACK = 64
_OGG_PAGE_HEADER = 27
_LONGEST_OGG_PAGE = 65307


class Truncated(Exception):
    """The file ends before its own header says it should; the message says how."""


class Prefixed(io.RawIOBase):
    """A read-only view of `file` with its first `skip` bytes replaced by `prefix`."""

    def __init__(self, file: BinaryIO, size: int, prefix: bytes, skip: int) -> None:
        self._file, self._prefix, self._skip = file, prefix, skip
        self._size = len(prefix) + size - skip
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), max(0, self._size - self._position))
        data = self._prefix[self._position : self._position + wanted]
        if len(data) < wanted:
            self._file.seek(self._position + len(data) - len(self._prefix) + self._skip)
            data += self._file.read(wanted - len(data))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def check_container(file: BinaryIO, size: int) -> Prefixed | None:
    """Compare what the container promises with the `size` in bytes of `file`.

    Returns:
        None if libsndfile reads the file rightly as it is; otherwise a view of it that it reads rightly.

    Raises:
        Truncated: if the file is shorter than it says.
        ValueError: if libsndfile must not be given the file.
    """
    file.seek(0)
    head = file.read(12)
    form, kind = head[:4], head[8:12]
    if form in (b"RIFF", b"RIFX", b"RF64", b"BW64") and kind == b"WAVE":
        return _check_wav(file, size, form)
    if form == b"FORM" and kind in (b"AIFF", b"AIFC"):
        begin, promised = _find_chunk(file, b"SSND", "big")
        if not _is_placeholder(promised):
            _check_end(begin + promised, size)
    elif form == b"OggS":
        _check_ogg(file, size)
    elif form == b".snd":  # Sun/NeXT: offset and size of the data follow
        begin, promised = int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big")
        if not _is_placeholder(promised):
            _check_end(begin + promised, size)
    elif is_mp3(head):
        return _check_mp3(file, size)
    elif head[:2] == b"\xf0\x7e" and head[3:4] == b"\x01":
        raise ValueError("a MIDI sample dump")  # libsndfile prints every odd byte of one to standard output
    return None


def is_mp3(head: bytes) -> bool:
    """Whether a file with these first bytes is one that libsndfile hands to its MPEG decoder."""
    return head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0)


def _check_end(end: int, size: int) -> None:
    if end > size + _HEADER_SLACK:
        raise Truncated(f"{size} of {end} bytes")


def _find_chunk(file: BinaryIO, wanted: bytes, order: str) -> tuple[int, int]:
    """Where the contents of the chunk begin, and its size."""
    offset = 12
    for _ in range(1000):  # no real file has so many chunks
        file.seek(offset)
        header = file.read(8)
        if len(header) < 8:
            break
        size = int.from_bytes(header[4:], order)  # type: ignore[arg-type]
        if header[:4] == wanted:
            return offset + 8, size
        offset += 8 + size + size % 2
    raise Truncated(f"the file ends before its {wanted.decode()} chunk")


def _is_placeholder(size: int) -> bool:
    """Whether a 32-bit size is what programs write into a pipe, where they cannot come back to fill it in."""
    return size in (0, 0x7F000000) or 0x7FFFF000 <= size <= 0x80000000 or size >= 0xFFFFFF00


def _check_wav(file: BinaryIO, size: int, form: bytes) -> Prefixed | None:
    order = "big" if form == b"RIFX" else "little"
    begin, promised = _find_chunk(file, b"data", order)
    if form in (b"RF64", b"BW64") and promised == 0xFFFFFFFF:
        where, _ = _find_chunk(file, b"ds64", order)  # 64-bit sizes: of the whole, of the data
        file.seek(where + 8)
        promised = int.from_bytes(file.read(8), "little")
        if promised not in (0, 2**64 - 1):
            _check_end(begin + promised, size)
        return None
    if not _is_placeholder(promised):
        _check_end(begin + promised, size)
    elif promised == 0 and size > begin:
        file.seek(0)
        head = file.read(begin)
        whole = int.from_bytes(head[4:8], order)  # type: ignore[arg-type]
        if _is_placeholder(whole) or 8 + whole <= begin:  # otherwise other chunks follow: it is empty indeed
            unknown = b"\xff\xff\xff\xff"
            return Prefixed(file, size, head[:4] + unknown + head[8:-4] + unknown, skip=begin)
    return None


def _check_ogg(file: BinaryIO, size: int) -> None:
    file.seek(max(0, size - 2 * _LONGEST_OGG_PAGE))
    tail = file.read()
    # A stream may be cut off between two pages and be whole (a recorded broadcast); within one it is not.
    last = tail.rfind(b"OggS")
    header = tail[last : last + _OGG_PAGE_HEADER]
    complete = len(header) == _OGG_PAGE_HEADER
    if complete:
        lengths = tail[last + _OGG_PAGE_HEADER : last + _OGG_PAGE_HEADER + header[26]]
        end = last + _OGG_PAGE_HEADER + header[26] + sum(lengths)
        complete = len(lengths) == header[26] and end <= len(tail)
    is_page = last >= 0 and header[4:5] in (b"", b"\0")  # version 0; letters within the sound are not a page
    if is_page and not complete:
        raise Truncated("the last Ogg page is incomplete")


def last_ogg_page_start(file: BinaryIO, size: int) -> int:
    """The sample with which the last page of an Ogg file begins, which is where the one before ends."""
    place = file.tell()  # libsndfile reads from the same descriptor, and goes on where it was
    file.seek(max(0, size - 2 * _LONGEST_OGG_PAGE))
    tail = file.read()
    file.seek(place)
    last = tail.rfind(b"OggS\0")
    before = tail.rfind(b"OggS\0", 0, max(0, last))
    position = int.from_bytes(tail[before + 6 : before + 14], "little") if before >= 0 else 0
    return position if position < 2**63 else 0  # all ones: no sound ends on that page


def _check_mp3(file: BinaryIO, size: int) -> Prefixed | None:
    first = find_first_frame(file)
    if first is None:
        return None
    if first.tag_bytes is not None:
        # An encoder's tag counts the bytes of all frames; players allow for a frame or two.
        if size < first.offset + first.tag_bytes - 2 * LONGEST_FRAME:
            raise Truncated(f"{size} of {first.offset + first.tag_bytes} bytes")
        return None
    if first.has_tag:
        return None
    if isinstance(file.name, int):  # a copy in memory, which has no name to be remembered by
        frames, length = count_frames(file, first)
    else:
        modified = os.fstat(file.fileno()).st_mtime_ns
        frames, length = _count_frames(os.path.abspath(file.name), size, modified, first)  # noqa: PTH100
    return Prefixed(file, size, first.make_tag(frames, length), skip=first.offset)


@lru_cache(maxsize=1 << 14)
def _count_frames(path: str, size: int, modified: int, first: FirstFrame) -> tuple[int, int]:
    """`count_frames`, which reads the whole file, once for all the crops that are taken from it.

    `size` and `modified` are there to count anew when the file has changed.
    """
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        return count_frames(file, first)
