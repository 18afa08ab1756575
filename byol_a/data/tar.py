"""Audio in tar archives, as large public sets are passed around: where each member's bytes lie in its archive.

Nothing is unpacked. An archive is read from its headers alone, members stay where they are, and links and devices
among them are never followed.
"""

from __future__ import annotations

import os
import re
import stat
import tarfile
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from byol_a.data.formats import AUDIO_EXTENSIONS, UNSUPPORTED_EXTENSIONS, unsupported_reason

TAR_ENDINGS = (".tar",)
COMPRESSED_TAR_ENDINGS = (".tar.bz2", ".tar.gz", ".tar.lz4", ".tar.xz", ".tar.zst", ".tbz2", ".tgz", ".txz")
COMPRESSED = "unsupported: a compressed archive, whose members cannot be read at random; decompress it to .tar"
# First bytes of gzip, bzip2, xz, zstandard and lz4.
_COMPRESSED_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18")
_BLOCK = tarfile.BLOCKSIZE
_RECORD_BYTES = 16 * _BLOCK  # more than a name takes up that a file system knows
_LONGEST_HEADER = 1 << 20  # bytes, of a name or of everything that is said of a member


@dataclass
class TarListing:
    """What an archive holds. Names are bytes as they stand in it, without a leading `./`.

    `members`: name -> offset and size in bytes of its data; `bad_members`: name -> size and why it is not read;
    `error`: what is wrong with the archive as a whole, in spite of which its members can be read.
    """

    members: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    bad_members: dict[bytes, tuple[int, str]] = field(default_factory=dict)
    error: str | None = None


def is_tar(name: str) -> bool:
    """Whether a file is an uncompressed archive, by its name."""
    return name.lower().endswith(TAR_ENDINGS)


def split_archive(name: str) -> tuple[str, str] | None:
    """The archive and the member in a joined name, `"/data/shard.tar/key.flac"`; None if it names no archive.

    Only where several parts of the name end in `.tar` does it matter which of them is a file.
    """
    ends = [match.end() - 1 for match in re.finditer(r"(?i)\.tar/", name)]
    if not ends:
        return None
    end = ends[0]
    if len(ends) > 1:
        end = next((end for end in ends if os.path.isfile(name[:end])), end)  # noqa: PTH113
    return name[:end], name[end + 1 :]


def holds_member(archive: BinaryIO, name: bytes, offset: int, size: int) -> bool:
    """Whether an archive has the member `name`, as listed, of `size` bytes at `offset`; looks at its header alone."""
    if offset < _BLOCK:
        return False
    archive.seek(offset - _BLOCK)
    try:
        header = tarfile.TarInfo.frombuf(archive.read(_BLOCK), "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    has_name = _clean(header.name.encode("utf-8", "surrogateescape")) == name
    if has_name and header.size == size:
        return True
    # What is too long for a header stands before it, as a record of PAX or, of a name, as a member that GNU tar adds.
    archive.seek(max(0, offset - _BLOCK - _RECORD_BYTES))
    before = re.sub(rb"/(\.?/)+", b"/", archive.read(min(_RECORD_BYTES, offset - _BLOCK)))
    has_size = header.size == size or b" size=%d\n" % size in before
    long_name = rb"( path=|\./@LongLink\0[\s\S]{498})(\./)?%s[\n\0]" % re.escape(name)
    return has_size and (has_name or re.search(long_name, before) is not None)


def list_tar(path: str) -> TarListing:
    """Find the audio members of an archive; hidden ones and those that are not audio are left out.

    A damaged archive gives the members before the damage and an `error`; of members of the same name the last
    counts, as when an archive is unpacked.
    """
    listing = TarListing()
    try:
        status = os.stat(path)  # noqa: PTH116
        if not stat.S_ISREG(status.st_mode):
            listing.error = "unreadable: not a regular file"
        elif status.st_size == 0:
            listing.error = "empty"
        else:
            with open(path, "rb") as file:  # noqa: PTH123
                listing.error = _read_headers(file, status.st_size, listing)
    except OSError as error:
        listing.error = f"unreadable: {(error.strerror or str(error)).lower()}"
    return listing


class _Headers:
    """A file that gives little at a time: tarfile takes memory for as long a name as a header claims to have."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, _LONGEST_HEADER))


def _read_headers(file: BinaryIO, size: int, listing: TarListing) -> str | None:
    """Fill the listing; returns what is wrong with the archive."""
    head = file.read(_BLOCK)
    file.seek(0)
    if head.startswith(_COMPRESSED_MAGIC):
        return COMPRESSED
    if not head.strip(b"\0"):  # what tar makes of an empty list of files
        return None
    name = "its first member"
    try:
        # A type of member that tarfile does not know is taken for a file of that size, and is skipped here.
        headers: Any = _Headers(file)
        with tarfile.open(fileobj=headers, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
            end = 0
            while (member := archive.next()) is not None:
                name = repr(member.name)
                archive.members.clear()  # type: ignore[attr-defined]  # tarfile would remember them all
                if member.size < 0 or archive.offset <= end:  # a forged size, which leads around in circles
                    return f"truncated: the archive is damaged at {name} (an impossible size)"
                if member.isreg() and member.offset_data + member.size > size:
                    return f"truncated: the archive ends within its member {name}"
                _add(member, listing)
                end = archive.offset
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        if not (listing.members or listing.bad_members):
            return "not audio: not a tar archive"
        return f"truncated: the archive is damaged after {name} ({str(error) or type(error).__name__})"
    # tarfile takes a damaged header for the end; the end is a block of zeros.
    file.seek(end)
    last = file.read(_BLOCK)
    if len(last) < _BLOCK:
        return f"truncated: the archive ends without an end mark, after {name}"
    if last.strip(b"\0"):
        return f"truncated: the archive is damaged after {name} (a header is not one)"
    return None


def _add(member: tarfile.TarInfo, listing: TarListing) -> None:
    name = member.name.encode("utf-8", "surrogateescape")
    parts = _parts(name)
    extension = os.path.splitext(member.name)[1].lower()  # noqa: PTH122
    if member.isdir() or not parts or extension not in AUDIO_EXTENSIONS | UNSUPPORTED_EXTENSIONS:
        return
    if any(part.startswith(b".") and part != b".." for part in parts):
        return
    reason = None
    if name.startswith(b"/") or b".." in parts or b"\0" in name:
        reason = f"unsupported: the name {member.name!r} leads out of the archive"
    elif not member.isreg():
        kind = "a link" if member.issym() or member.islnk() else "a device or pipe"
        reason = f"unsupported: {kind} in an archive is not followed"
    elif member.issparse():
        reason = "unsupported: a sparse member of an archive"
    elif extension in UNSUPPORTED_EXTENSIONS:
        reason = unsupported_reason(extension)
    clean = _clean(name)
    listing.members.pop(clean, None)
    listing.bad_members.pop(clean, None)
    if reason is None:
        listing.members[clean] = member.offset_data, member.size
    else:
        listing.bad_members[clean] = member.size, reason


def _parts(name: bytes) -> list[bytes]:
    return [part for part in name.split(b"/") if part not in (b"", b".")]


def _clean(name: bytes) -> bytes:
    """The name as one below the archive, and another one if it is not: percent signs show what was there."""
    root = [b"%2F"] * name.startswith(b"/")
    clean = b"/".join(root + [b"%2E%2E" if part == b".." else part for part in _parts(name)])
    return clean.replace(b"\0", b"%00")
