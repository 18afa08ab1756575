"""The folder of a store while it is being packed: what is in it already, and how it becomes a finished store."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from byol_a.data.index import AudioIndex
from byol_a.data.report import FileReport
from byol_a.data.scan.parts import ScanParts
from byol_a.data.store.audio_store import (
    BAD_FILES,
    CHECKSUM,
    CLIPS,
    FORMAT,
    FORMAT_VERSION,
    LENGTH,
    PACKING,
    PARTS,
    SCAN,
    SHARDS,
    START,
    STORE,
    is_store,
    read_description,
    read_json,
)
from byol_a.data.store.plan import HEADER_BYTES, Group, Plan
from byol_a.data.store.shards import CHECKSUM_BYTES, UNREADABLE
from byol_a.data.store.tape import SAMPLE, shard_path
from byol_a.errors import ByolaError, UsageError
from byol_a.files import atomic_file, checksum, write_json
from byol_a.words import counted

LOCK, COUNTS, NEXT_SCAN = ".lock", "counts", ".next.parquet"
_DIFFERENCES = {
    "sample_rate": "at {before} Hz, not at {value}",
    "shard_bytes": "of shards of {before} bytes, not of {value}",
    "inputs": "from other inputs",
}


@dataclass(frozen=True)
class Account:
    """What a worker says of a group of shards: see `pack_shards`."""

    shards: list[dict[str, Any]]
    checksums: bytes  # of each clip, one after another
    bad: dict[int, str]  # rows of the plan, and why they could not be packed
    clipped: list[int]

    @property
    def unreadable(self) -> list[int]:
        """The bad rows that another try may find in order, as after a drive was away."""
        return [row for row, reason in self.bad.items() if reason.startswith(UNREADABLE)]


class PackFolder:
    """A folder in which a store is made.

    Args:
        path: the store.
        settings: what it is made with; JSON of one level.

    Raises:
        UsageError: if there is something else.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.settings = path, settings
        self.lock, self.scan, self._next_scan = path / LOCK, path / SCAN, path / NEXT_SCAN
        self.shards, self.parts, self.counts = path / SHARDS, path / PARTS, path / PARTS / COUNTS
        self._was_empty = not os.path.lexists(path) or _is_empty(path)  # also a link to nothing
        if not self._was_empty and not is_store(path):
            raise UsageError(
                f"{path} exists already and is not a packed store, so nothing is packed there; choose another --out"
            )
        self._new_folders = [folder for folder in (path, *path.parents) if not folder.exists()]

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        return (self.path / STORE).exists()

    def earlier(self) -> dict[str, Any]:
        """What the finished store, or an interrupted run, says of itself; empty where no plan was made yet.

        Raises:
            UsageError: if that was made with other settings.
            ByolaError: if it is damaged.
        """
        found = _planned(read_description(self.path)) if self.is_finished else self._attempt()
        if not found:
            return {}
        for name, value in self.settings.items():
            before = found["settings"].get(name)
            if before != value:
                raise self._other(_DIFFERENCES[name].format(before=before, value=value))
        return found

    def own_attempt(self) -> dict[str, Any]:
        """What an interrupted run that replaced a store with these settings says of itself; empty if there is none."""
        found = {} if self.is_finished else self._attempt()
        return found if found.get("overwrites") and found["settings"] == self.settings else {}

    def _attempt(self) -> dict[str, Any]:
        return _planned(read_json(self.path / PACKING))

    def require_same(self, earlier: dict[str, Any], fingerprint: str) -> None:
        """Refuse to go on with what was planned otherwise.

        Raises:
            UsageError: if it was.
        """
        if earlier.get("fingerprint", fingerprint) != fingerprint:
            raise self._other("from another index, or with other filters")

    def _other(self, how: str) -> UsageError:
        return UsageError(
            f"the store {self.path} was made {how}; choose another --out, or pass --overwrite to pack it anew"
        )

    def begin(self, plan: Plan | None = None, overwrites: bool = False) -> None:
        """Say whose folder this is, and what it will become; `overwrites`: in place of what was there."""
        head = {"format": FORMAT, "format_version": FORMAT_VERSION, "settings": self.settings}
        more: dict[str, Any] = {}
        if plan is not None:
            more = {"fingerprint": plan.fingerprint(), "shards": plan.n_shards, "overwrites": overwrites}
        write_json(self.path / PACKING, {**head, **more})

    def place_for_scan(self) -> Path:
        """Where to scan to. A store that is there goes by its own scan until it is cleared away."""
        if not self.is_finished and not self._attempt():
            if not is_store(self.path):
                self.begin()
            return self.scan
        if self.scan.exists() and not self._next_scan.exists():  # so that only what is new has to be read
            with atomic_file(self._next_scan) as partial:
                shutil.copyfile(self.scan, partial)
        return self._next_scan

    def clear(self) -> None:
        """Remove the store that is there, or what is left of one; a kill in between leaves one that is not finished."""
        self.begin()
        (self.path / STORE).unlink(missing_ok=True)
        if self.settings["inputs"] is None:
            self.scan.unlink(missing_ok=True)
        elif self._next_scan.exists():
            self._next_scan.replace(self.scan)
        for name in (CLIPS, BAD_FILES):
            (self.path / name).unlink(missing_ok=True)
        self._drop_shards()

    def _drop_shards(self) -> None:
        for folder in (self.parts, self.shards):
            if folder.exists():
                shutil.rmtree(folder)

    def bytes_of_shards(self) -> int:
        """What the shards that are there take up on disk."""
        return sum(path.stat().st_size for path in self.shards.glob("*.npy"))

    def leave(self) -> None:
        """Leave nothing where nothing was begun."""
        if self._was_empty and _is_empty(self.path, {PACKING}) and not self._attempt():
            for path in self.path.iterdir():
                path.unlink()
            for folder in self._new_folders:
                with suppress(OSError):  # somebody else has put something there
                    folder.rmdir()

    def remove_partials(self) -> None:
        """Drop what was being written when a process was killed."""
        for folder in (self.path, self.shards, self.parts):
            for path in folder.glob(".*.partial"):
                path.unlink()

    def account_path(self, group: Group) -> Path:
        """Where a worker says what it packed."""
        return self.parts / f"{group.first_shard:05d}.json"

    def is_packed(self, group: Group, skip_unreadable: bool) -> bool:
        """Whether a group of shards is there for good: with every clip that can be read, unless they are skipped."""
        account = self.account(group)
        return account is not None and (skip_unreadable or not account.unreadable)

    def account(self, group: Group) -> Account | None:
        """What there is of a group of shards; None where they are not, or not all and whole."""
        account = _read_account(self.account_path(group), group)
        if account is None:
            return None
        for number, shard in enumerate(account.shards, group.first_shard):
            path = shard_path(self.shards, number)
            if not path.is_file() or path.stat().st_size != HEADER_BYTES + shard["samples"] * SAMPLE.itemsize:
                return None
        return account

    def finish(self, plan: Plan, report: FileReport, about: dict[str, Any], skip_unreadable: bool = False) -> None:
        """Make a store of the shards and their accounts.

        Args:
            plan: what was packed.
            report: files that could not be used, to which those are added that could not be packed.
            about: more for store.json.
            skip_unreadable: do without clips that could not be read, though another try may find them in order.

        Raises:
            ByolaError: if not one clip was packed, or some could not be read.
        """
        accounts = [self._finished(group) for group in plan.groups]
        unreadable = [(row, account.bad[row]) for account in accounts for row in account.unreadable]
        if unreadable and not skip_unreadable:
            row, reason = unreadable[0]
            raise ByolaError(
                f"{counted(len(unreadable), 'file')} cannot be read now (first: {plan.index.name(row)}, "
                f"{reason}); the rest is packed; run the same command again, or leave them out with --skip-unreadable"
            )
        bad = {row: reason for account in accounts for row, reason in account.bad.items()}
        report.extend((plan.index.name(row), reason) for row, reason in bad.items())
        report.write(self.path / BAD_FILES)
        if len(bad) == len(plan.index):
            self._drop_shards()  # the next run is to look at the files again
            raise ByolaError(
                f"none of the {len(bad)} clips could be packed ({report.summary()}; see {self.path / BAD_FILES}); "
                f"mend that, scan again and pack with --overwrite"
            )
        is_good = np.ones(len(plan.index), bool)
        is_good[list(bad)] = False
        _clips(plan, b"".join(account.checksums for account in accounts), is_good).write(self.path / CLIPS)
        counts = {
            "samples": int(plan.lengths[is_good].sum()),
            "bytes": plan.bytes_of(plan.groups),
            "clipped": sum(len(account.clipped) for account in accounts),
        }
        description = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "sample_rate": plan.sample_rate,
            "clips": {"rows": int(is_good.sum()), "checksum": checksum(self.path / CLIPS)},
            "counts": counts,
            "settings": self.settings,
            **about,
            "fingerprint": plan.fingerprint(),
            "shards": [shard for account in accounts for shard in account.shards],
        }
        write_json(self.path / STORE, description)
        self.tidy()

    def _finished(self, group: Group) -> Account:
        account = self.account(group)
        if account is None:
            raise ByolaError(
                f"{self.account_path(group)} or its shards went away while {self.path} was being packed; run the "
                f"same `byol-a pack` again"
            )
        return account

    def tidy(self) -> None:
        """Remove what a finished store has no use for."""
        self.remove_partials()
        for folder in (self.parts, ScanParts(self._next_scan).folder):
            shutil.rmtree(folder, ignore_errors=True)
        for path in (self._next_scan, self.path / PACKING):
            path.unlink(missing_ok=True)


def _planned(description: Any) -> dict[str, Any]:
    """What a file that describes a store says, if a plan was made; otherwise nothing."""
    is_planned = (
        isinstance(description, dict) and isinstance(description.get("settings"), dict) and "fingerprint" in description
    )
    return description if is_planned else {}


def _is_empty(folder: Path, besides: Collection[str] = ()) -> bool:
    """Whether there is nothing in a folder but what a run killed at its very beginning leaves."""
    return folder.is_dir() and all(
        path.name in {LOCK, *besides} or (path.name.startswith(f".{PACKING}.") and path.suffix == ".partial")
        for path in folder.iterdir()
    )


def _read_account(path: Path, group: Group) -> Account | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        account = Account(
            [{"samples": int(shard["samples"]), "checksum": str(shard["checksum"])} for shard in value["shards"]],
            bytes.fromhex(value["checksums"]),
            # JSON can say what no text holds.
            {int(row): str(reason).encode("utf-8", "backslashreplace").decode() for row, reason in value["bad"]},
            [int(row) for row in value["clipped"]],
        )
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    planned = np.diff(group.bounds).tolist()
    is_whole = (
        [shard["samples"] for shard in account.shards] == planned
        and all(_is_checksum(shard["checksum"]) for shard in account.shards)
        and len(account.checksums) == CHECKSUM_BYTES * len(group.rows)
        and all(row in group.rows for row in [*account.bad, *account.clipped])
    )
    return account if is_whole else None


def _is_checksum(text: str) -> bool:
    return re.fullmatch("[0-9a-f]{32}", text) is not None


def _clips(plan: Plan, checksums: bytes, is_good: np.ndarray) -> AudioIndex:
    """The table of the clips: the rows of the index with their places and checksums."""
    table = plan.index.table.drop_columns([name for name in _PLACES if name in plan.index.table.column_names])
    hashes = pa.Array.from_buffers(pa.binary(CHECKSUM_BYTES), len(plan.index), [None, pa.py_buffer(checksums)])
    for name, column in zip(_PLACES, (plan.starts, plan.lengths, hashes), strict=True):
        table = table.append_column(name, pa.array(column) if isinstance(column, np.ndarray) else column)
    return AudioIndex(table.filter(pa.array(is_good)))


_PLACES: Sequence[str] = (START, LENGTH, CHECKSUM)
