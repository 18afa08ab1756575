"""Checkpoints that hold everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch

from byol_a.errors import ByolaError
from byol_a.files import atomic_file

FORMAT_VERSION = 1


def save_checkpoint(snapshot: dict[str, Any], path: Path, keep_as: Path | None = None) -> None:
    """Write a snapshot atomically, and keep a second copy of it where asked.

    Raises:
        ByolaError: where the disk is full or not writable; the checkpoint written before is untouched.
    """
    try:
        with atomic_file(path) as temporary:
            torch.save({"format_version": FORMAT_VERSION, **snapshot}, temporary)
        if keep_as is not None:
            _link_or_copy(path, keep_as)
    except (OSError, RuntimeError) as error:
        # torch reports a full disk as a RuntimeError from its zip writer.
        kept = f"the last good checkpoint is still {path}" if path.exists() else "no checkpoint was written before"
        free = shutil.disk_usage(path.parent).free / 1e6
        raise ByolaError(
            f"could not write the checkpoint {path} ({_first_line(error)}; {free:.0f} MB free there); {kept}: "
            "make room and continue with --resume"
        ) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a snapshot; tensors and plain values only, so that loading never runs code.

    Raises:
        ByolaError: if the file is missing, damaged or of a newer format.
    """
    try:
        snapshot: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ByolaError(f"there is no checkpoint {path}") from error
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ByolaError(f"the checkpoint {path} cannot be read ({_first_line(error)})") from error
    version = snapshot.get("format_version") if isinstance(snapshot, dict) else None
    if version != FORMAT_VERSION:
        raise ByolaError(f"{path} is not a checkpoint of format {FORMAT_VERSION} (it says {version})")
    return snapshot


def _link_or_copy(source: Path, target: Path) -> None:
    """A second name for the same bytes costs no room: `last.pt` is replaced by rename, never written in place."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        with atomic_file(target) as temporary:
            shutil.copyfile(source, temporary)


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
