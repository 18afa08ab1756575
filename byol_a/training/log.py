"""What a run says while it goes: metrics.jsonl always, a progress bar or plain lines, TensorBoard on request."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from byol_a.errors import require
from byol_a.files import atomic_file
from byol_a.progress import Progress
from byol_a.training.run_folder import RunFolder


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl, without a last line that a kill cut short and any other that is damaged."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        with suppress(ValueError, LookupError, TypeError, RecursionError):
            row = json.loads(line)
            if all(isinstance(row[name], int | float) for name in ("step", "clips", "loss", "collapse")):
                rows.append(row)
    return rows


class RunLog:
    """Writes each logged step to every place it belongs.

    Args:
        folder: the run's folder.
        start_step: steps done before; rows of later steps, which a killed process wrote, are dropped.
        total_steps: steps in all.
        batch_size: clips of one step, for the rate.
        tensorboard: whether to write TensorBoard events too.
        enabled: False for a process that is not the main one: it writes and says nothing.
    """

    def __init__(
        self,
        folder: RunFolder,
        start_step: int,
        total_steps: int,
        batch_size: int,
        tensorboard: bool = False,
        enabled: bool = True,
    ) -> None:
        self._enabled, self._batch_size = enabled, batch_size
        self._clips_done = start_step * batch_size
        self._window = (start_step, time.monotonic())
        self._progress = Progress(
            "pre-training",
            total_steps * batch_size,
            unit="clip",
            enabled=enabled,
            start=self._clips_done,
        )
        self._total_steps = total_steps
        self._board: Any = None
        if not enabled:
            return
        self._drop_rows_after(folder.metrics, start_step)
        self._file = folder.metrics.open("a", encoding="utf-8")
        if tensorboard:
            writer = require("torch.utils.tensorboard", "training.tensorboard", install="tensorboard")
            self._board = writer.SummaryWriter(str(folder.tensorboard), purge_step=start_step + 1)

    @staticmethod
    def _drop_rows_after(path: Path, step: int) -> None:
        rows = [row for row in read_metrics(path) if row["step"] <= step]
        with atomic_file(path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def __enter__(self) -> RunLog:
        self._progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)
        if self._enabled:
            self._file.close()
        if self._board is not None:
            self._board.close()

    def advance(self, steps: int = 1) -> None:
        """Count steps that are done."""
        self._progress.advance(steps * self._batch_size)

    def sync(self) -> None:
        """See to it that what was recorded survives a power cut, as the checkpoint does that is written next."""
        if self._enabled:
            os.fsync(self._file.fileno())

    def record(self, step: int, metrics: dict[str, float]) -> None:
        """Write the metrics after `step` steps; the rate over the steps since the last record is added."""
        last_step, last_time = self._window
        now = time.monotonic()
        self._window = (step, now)
        rate = (step - last_step) * self._batch_size / max(now - last_time, 1e-9)
        row = {"step": step, "clips": step * self._batch_size, **metrics, "clips_per_s": round(rate, 2)}
        self._progress.advance(
            0,
            step=f"{step}/{self._total_steps}",
            loss=f"{metrics['loss']:.4f}",
            collapse=f"{metrics['collapse']:.3f}",
        )
        if not self._enabled:
            return
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in row.items():
                if name != "step":
                    self._board.add_scalar(name, value, step)
