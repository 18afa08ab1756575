"""Writing without ever leaving half a file: write beside, then rename into place."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from byol_a.errors import ByolaError, UsageError

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
"""Numbers of the errors that say that there is no room left."""


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it replaces `path`, on failure it is removed.

    The data reaches the disk before the rename, so that a kill or a power cut leaves either the old
    file or the new one. Parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Yield a folder beside `path` to fill; on success it is renamed to `path`.

    Raises:
        UsageError: if `path` exists, is not an empty folder, and `overwrite` is false.
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            # A folder cannot be replaced by one rename: move the old one away first, then drop it.
            retired = path.with_name(f".{path.name}.{os.getpid()}.retired")
            path.replace(retired)
            temporary.replace(path)
            shutil.rmtree(retired)
        else:
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_existing(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Raise `UsageError` where writing to `path` would replace something without being told to."""
    path = Path(path)
    if overwrite or not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    raise UsageError(f"{path} exists already; choose another place or pass --overwrite to replace it")


def require_file(path: Path) -> None:
    """Raise `UsageError` unless `path` is a file."""
    if not path.is_file():
        raise UsageError(f"there is no file {path}")


@contextmanager
def words_for_a_full_disk(sentence: Callable[[], str]) -> Iterator[None]:
    """Make a `ByolaError` of a disk that gets full; `sentence` is asked then, and says what is kept and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise ByolaError(sentence()) from error


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_file(path) as temporary:
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        # Of a name that is not UTF-8 what cannot be encoded becomes `\udce9`, which in JSON means just that.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def checksum(path: str | os.PathLike[str]) -> str:
    """32 hexadecimal digits of BLAKE2b over the bytes of a file, which may be larger than memory."""
    digest = hashlib.blake2b(digest_size=16)
    buffer = memoryview(bytearray(1 << 20))
    with Path(path).open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()
