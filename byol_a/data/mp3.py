"""MPEG audio frame headers: enough to know how many frames an MP3 has, and to write that into a tag.

The tag is Xing's, a first frame of silence that holds the number of frames and bytes that follow.
Decoders rely on it for the length of a file; without one they guess from the first frame's bit rate,
which is wrong for variable bit rates. Header layout: ISO/IEC 11172-3 section 2.4.1 and 13818-3.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import BinaryIO

# kbit/s of Layer III by bit rate index; 0 (free format) and 15 (forbidden) have no length.
_KBITS_MPEG1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_KBITS_MPEG2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_SEARCH = 1 << 16
_MOST_TAGS = 100  # one behind the other: more than a few are damage
_WINDOW = 1 << 20
LONGEST_FRAME = 1441
"""Bytes of a Layer III frame at the highest bit rate and the lowest sample rate of MPEG-1."""
# Sync, version, layer and sample rate: what the frames of one stream have in common.
_SAME_STREAM = 0xFFFE0C00


@dataclass(frozen=True)
class FirstFrame:
    """The first MPEG frame of a file: where it is, its 32-bit header, and its tag's promise if it has one."""

    offset: int
    header: int
    has_tag: bool
    tag_bytes: int | None

    def make_tag(self, frames: int, length: int) -> bytes:
        """A Xing tag frame in front of `frames` frames that are `length` bytes long together."""
        # Bit rate index 9 (128 or 80 kbit/s) makes any frame long enough for the tag.
        header = (self.header | 0x00010000) & ~0x0000F200 | 9 << 12
        frame = bytearray(_frame_length(header))
        frame[:4] = header.to_bytes(4, "big")
        tag = b"Xing" + (3).to_bytes(4, "big") + frames.to_bytes(4, "big")
        tag += min(length + len(frame), 2**32 - 1).to_bytes(4, "big")
        offset = _side_information(self.header)
        frame[offset : offset + len(tag)] = tag
        return bytes(frame)


def _side_information(header: int) -> int:
    """Where the data of a Layer III frame begin, and hence a tag, when there is no checksum."""
    mpeg1, mono = header >> 19 & 3 == 3, header >> 6 & 3 == 3
    return 4 + ((17 if mono else 32) if mpeg1 else (9 if mono else 17))


def _frame_length(header: int) -> int:
    """Bytes of the Layer III frame with this header; 0 if it is not one."""
    if header >> 21 != 0x7FF or header >> 17 & 3 != 1 or header >> 10 & 3 == 3:
        return 0
    version = header >> 19 & 3
    if version not in _RATES:
        return 0
    rate = _RATES[version][header >> 10 & 3]
    kbits = (_KBITS_MPEG1 if version == 3 else _KBITS_MPEG2)[header >> 12 & 15]
    return (144 if version == 3 else 72) * kbits * 1000 // rate + (header >> 9 & 1) if kbits else 0


def find_first_frame(file: BinaryIO) -> FirstFrame | None:
    """The first Layer III frame after any ID3v2 tags, or None if there is none nearby."""
    offset = 0
    for _ in range(_MOST_TAGS):
        file.seek(offset)
        head = file.read(10)
        if len(head) < 10 or head[:3] != b"ID3":
            break
        # Four bytes of seven bits; a footer repeats the header.
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        offset += 10 + size + (10 if head[5] & 0x10 else 0)
    file.seek(offset)
    data = file.read(_SEARCH)
    at = data.find(b"\xff")
    while 0 <= at < len(data) - 4:
        header = int.from_bytes(data[at : at + 4], "big")
        length = _frame_length(header)
        follower = int.from_bytes(data[at + length : at + length + 4], "big")
        if length and (at + length + 4 > len(data) or (header ^ follower) & _SAME_STREAM == 0):
            return _with_tag(data[at:], offset + at, header)
        at = data.find(b"\xff", at + 1)
    return None


def _with_tag(frame: bytes, offset: int, header: int) -> FirstFrame:
    xing = frame[_side_information(header) :]
    if xing[:4] in (b"Xing", b"Info"):
        flags = xing[7] if len(xing) > 7 else 0
        if not flags & 1:  # it does not say how many frames there are, and decoders go on guessing
            return FirstFrame(offset, header, True, None)
        return FirstFrame(offset, header, True, int.from_bytes(xing[12:16], "big") if flags & 2 else None)
    if frame[36:40] == b"VBRI":
        return FirstFrame(offset, header, True, int.from_bytes(frame[46:50], "big"))
    return FirstFrame(offset, header, False, None)


def count_frames(file: BinaryIO, first: FirstFrame) -> tuple[int, int]:
    """How many frames of the first one's stream the file holds, and their bytes together.

    The file is read a window at a time. Mapped into memory, a file that is cut meanwhile, or a bad disk, would end
    the process instead of raising an OSError.
    """
    frames = total = 0
    at, end = first.offset, os.fstat(file.fileno()).st_size
    # The second byte as well: in a run of damage made of 0xff, every byte could begin a frame.
    version_and_layer = first.header >> 16 & 0xFE
    sync = re.compile(b"\xff[" + bytes([version_and_layer, version_and_layer | 1]) + b"]")
    window, origin = b"", at
    while at <= end - 4:
        if at + 4 > origin + len(window):
            file.seek(at)
            window, origin = file.read(_WINDOW), at
            if len(window) < 4:
                break
        header = int.from_bytes(window[at - origin : at - origin + 4], "big")
        length = _frame_length(header) if (header ^ first.header) & _SAME_STREAM == 0 else 0
        if length:
            if at + length > end:
                break
            frames, total, at = frames + 1, total + length, at + length
        else:  # a tag or damage between frames
            match = sync.search(window, at - origin + 1)
            at = max(at + 1, origin + (match.start() if match else len(window) - 1))
    return frames, total
