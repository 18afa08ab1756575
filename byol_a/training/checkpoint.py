"""Checkpoints that hold everything a run needs to go on as if it had never stopped, and that cannot be lost.

A checkpoint is what `torch.save` writes, followed by the BLAKE2b digest of those bytes. torch.load compares nothing:
a flipped bit would be trained on. `last.pt` is replaced by one rename; the one before it stays as `previous.pt`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import warnings
from pathlib import Path
from typing import IO, Any

import torch

from byol_a.errors import ByolaError
from byol_a.files import atomic_file

FORMAT_VERSION = 2
PARTS = {"step": int, "method": dict, "optimizer": dict, "processes": list, "stats": dict}
_SEAL = b"byol-a checkpoint, BLAKE2b "
_DIGEST_BYTES = 32
_SEAL_BYTES = len(_SEAL) + 2 * _DIGEST_BYTES


class DamagedCheckpoint(ByolaError):
    """A file is no checkpoint, or no longer what was written. `reason` says why, as the end of "the file ..."."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the checkpoint {path} cannot be used: it {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type[DamagedCheckpoint], tuple[Path, str]]:
        return DamagedCheckpoint, (self.path, self.reason)


def save_checkpoint(snapshot: dict[str, Any], path: Path, keep_as: Path | None = None) -> None:
    """Write a snapshot atomically, keep the one before as `previous.pt`, and a copy of the new one where asked.

    Raises:
        ByolaError: where the disk is full or not writable; the checkpoints written before are untouched.
    """
    try:
        with atomic_file(path) as temporary:
            with temporary.open("wb") as file:
                stream: Any = _Digested(file)
                torch.save({"format_version": FORMAT_VERSION, **snapshot}, stream)
                file.write(_SEAL + stream.digest.hexdigest().encode())
            if path.exists():
                link_or_copy(path, previous_of(path))
        if keep_as is not None:
            link_or_copy(path, keep_as)
    except (OSError, RuntimeError) as error:
        kept = f"the last good checkpoint is still {path}" if path.exists() else "no checkpoint was written before"
        raise ByolaError(
            f"could not write the checkpoint {path} ({_cause(error)}{_free_space(path.parent)}); {kept}; "
            "make room or make it writable, and continue with --resume"
        ) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a snapshot after comparing every byte with what was written; loading never runs code.

    Raises:
        DamagedCheckpoint: if the file is not what `save_checkpoint` wrote.
        ByolaError: if there is no such file, or it may not be read.
    """
    try:
        with path.open("rb") as file:
            _compare_digest(file, path)
            file.seek(0)
            return _unpickle(file, path)
    except FileNotFoundError as error:
        raise ByolaError(f"there is no checkpoint {path}") from error
    except OSError as error:
        if error.errno == errno.EIO:  # what a failing disk answers
            raise DamagedCheckpoint(path, f"cannot be read ({error.strerror})") from error
        raise ByolaError(f"the checkpoint {path} cannot be read ({error.strerror})") from error


def previous_of(path: Path) -> Path:
    """Where the checkpoint before `path` is kept."""
    return path.with_name("previous.pt")


class _Digested:
    """A stream that takes the digest of what passes through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)

    def write(self, data: bytes | memoryview) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _compare_digest(file: IO[bytes], path: Path) -> None:
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise DamagedCheckpoint(path, "is empty")
    file.seek(max(0, size - _SEAL_BYTES))
    seal = file.read()
    if not seal.startswith(_SEAL) or len(seal) != _SEAL_BYTES:
        raise DamagedCheckpoint(path, "does not end as one does, so it was cut off or another program wrote it")
    file.seek(0)
    digest, left = hashlib.blake2b(digest_size=_DIGEST_BYTES), size - _SEAL_BYTES
    while left and (block := file.read(min(left, 1 << 20))):
        digest.update(block)
        left -= len(block)
    if digest.hexdigest().encode() != seal[len(_SEAL) :]:
        raise DamagedCheckpoint(path, "has changed since it was written (its checksum differs)")


def _unpickle(file: IO[bytes], path: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error says it
            snapshot = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # made up to look like one; unpickling such a file may end in any error
        raise DamagedCheckpoint(path, "holds more than tensors and plain values, and only those are loaded") from error
    version = snapshot.get("format_version") if isinstance(snapshot, dict) else None
    if not isinstance(version, int) or version != FORMAT_VERSION:
        said = " ".join(str(version).split())[:50]
        raise DamagedCheckpoint(path, f"is not of format {FORMAT_VERSION} (it says {said})")
    missing = [name for name, kind in PARTS.items() if not isinstance(snapshot.get(name), kind)]
    if missing:
        raise DamagedCheckpoint(path, f"lacks {', '.join(missing)}")
    return dict(snapshot)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for the same bytes costs no room: a checkpoint is replaced by rename, never written in place."""
    with atomic_file(target) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:  # a file system without hard links
            shutil.copyfile(source, temporary)


def _cause(error: BaseException) -> str:
    # torch's zip writer turns a full disk into a RuntimeError of its own.
    if not isinstance(error, OSError) and isinstance(error.__context__, OSError):
        error = error.__context__
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.splitlines()[0] if text else type(error).__name__


def _free_space(folder: Path) -> str:
    try:
        return f", {shutil.disk_usage(folder).free / 1e6:.0f} MB free there"
    except OSError:
        return ""
