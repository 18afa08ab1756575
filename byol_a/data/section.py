"""An audio file that lies within another, as a member of an archive does, as a file of its own."""

from __future__ import annotations

import os
import tempfile
from typing import Any, BinaryIO

from byol_a.data.containers import Prefixed, is_mp3
from byol_a.data.tar import holds_member
from byol_a.errors import AudioError

# What is larger is read in place, through Python: from here on that is quicker than a copy, and takes no memory.
_LARGEST_COPY = 1 << 18
_COPY_AT_ONCE = 1 << 26  # a system call moves 2 GB at most


class Section(Prefixed):
    """A read-only view of `size` bytes of `file`, from `offset` on; closing it closes `file`."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        super().__init__(file, offset + size, b"", skip=offset)

    def close(self) -> None:
        self._file.close()
        super().close()


def open_section(file: BinaryIO, path: str, section: tuple[int, int], member: str | None = None) -> Any:
    """A member of an open archive, in place of the archive, which is closed or goes with it.

    Small ones, and any MP3, are copied to memory and have a descriptor of their own; of others it is a `Section`.

    Args:
        file: the archive, unbuffered.
        path: what to call it in an error.
        section: (offset, size) of the member in bytes.
        member: the name that the member must have in the archive, if it is a tar; anything will do if None.

    Raises:
        AudioError: if there is no such member.
        OSError: if the archive cannot be read.
    """
    offset, size = section
    try:
        there = os.fstat(file.fileno()).st_size - offset
        if size <= 0:
            raise AudioError(path, "empty")
        if there < size:
            raise AudioError(path, f"truncated: {max(0, there)} of {size} bytes")
        if member is not None and not holds_member(file, os.fsencode(member), offset, size):
            raise AudioError(path, "changed: the archive is not the one that was scanned")
        file.seek(offset)
        if size > _LARGEST_COPY and not is_mp3(file.read(3)):
            return Section(file, offset, size)
        copy = _copy(file, path, offset, size)
    except BaseException:
        file.close()
        raise
    file.close()
    return copy


def _copy(file: BinaryIO, path: str, offset: int, size: int) -> Any:
    if hasattr(os, "memfd_create"):
        copy: Any = open(os.memfd_create("audio"), "wb+", buffering=0)  # noqa: PTH123, SIM115
    else:
        copy = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
    file.seek(offset)
    missing = size
    while missing:
        data = file.read(min(missing, _COPY_AT_ONCE))
        if not data:  # the archive is being cut just now
            copy.close()
            raise AudioError(path, f"truncated: {size - missing} of {size} bytes")
        missing -= copy.write(data)
    copy.seek(0)
    return copy
