"""All tasks of a benchmark, one after the other or side by side, in a folder that one process writes to."""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from byol_a import __version__
from byol_a.data.worker_pool import available_cores
from byol_a.files import write_json
from byol_a.lock import WriterLock
from downstream.benchmark.plan import Account, Plan
from downstream.benchmark.task import run_task
from downstream.outputs import prepare, write_outputs, write_scores
from downstream.results import CELLS, read_cells
from downstream.suites import FoundTask, Search

RECORD = "benchmark.json"
ABANDONED_SECONDS = 3600.0  # a cell is written in far less


def run_benchmark(plan: Plan, search: Search, jobs: int, say: Callable[[str], None]) -> list[Account]:
    """Work through the tasks that were found, and write scores, reports and a record of the run.

    Args:
        jobs: tasks at once, each in a process of its own with its share of the cores; where `plan.device` is
            "cuda", each takes the next GPU.

    Raises:
        UsageError: if `plan.out` cannot be written to, or another process is writing to it.
        ByolaError: if results cannot be written.
    """
    prepare(plan.out)
    signal.signal(signal.SIGTERM, _as_interrupt)  # how batch systems end a job
    refusal = f"another benchmark is writing to {plan.out}; wait for it, or give another --out"
    with WriterLock(plan.out / ".lock", refusal):
        _clear_abandoned(plan.out)
        started, accounts = time.time(), list[Account]()
        try:
            _run(plan, search.found, jobs, say, accounts)
        finally:
            _record(plan, search, accounts, started)
        write_outputs(plan.out, say)
    return accounts


def _run(
    plan: Plan, tasks: Sequence[FoundTask], jobs: int, say: Callable[[str], None], accounts: list[Account]
) -> None:
    if jobs > 1:
        _run_in_processes(plan, tasks, jobs, say, accounts)
        return
    for number, found in enumerate(tasks, start=1):
        say(f"[{number}/{len(tasks)}] {found.name}: {found.root}")
        accounts.append(run_task(plan, found, say))
        write_scores(plan.out, read_cells(plan.out, say))


def _run_in_processes(
    plan: Plan, tasks: Sequence[FoundTask], jobs: int, say: Callable[[str], None], accounts: list[Account]
) -> None:
    context = multiprocessing.get_context("spawn")  # a forked process cannot use a GPU
    with ProcessPoolExecutor(min(jobs, len(tasks)), context, initializer=_end_with_parent) as pool:
        waiting = {
            pool.submit(_run_alone, replace(plan, device=_device_of(plan.device, number)), found, jobs): found
            for number, found in enumerate(tasks)
        }
        try:
            for future in as_completed(waiting):
                accounts.append(future.result())
                write_scores(plan.out, read_cells(plan.out, say))
                say(f"[{len(accounts)}/{len(tasks)}] {waiting[future].name}: done")
        except BaseException:
            for child in multiprocessing.active_children():
                child.terminate()  # their unfinished cells are not there at all
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run_alone(plan: Plan, found: FoundTask, jobs: int) -> Account:
    """A task in a process of its own, with its share of the cores."""
    import torch

    torch.set_num_threads(max(1, available_cores() // jobs))
    return run_task(plan, found, lambda line: print(f"{found.name}: {line}", file=sys.stderr, flush=True))


def _device_of(device: str, number: int) -> str:
    import torch

    return f"cuda:{number % torch.cuda.device_count()}" if device == "cuda" else device


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, however that went: it held the lock."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _as_interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _clear_abandoned(out: Path) -> None:
    """Remove what killed processes left half written; what is young may be of an `evaluate` that is running."""
    for folder in (out / CELLS).glob("*/*/.*.partial"):
        if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _record(plan: Plan, search: Search, accounts: Sequence[Account], started: float) -> None:
    """Add this run to `benchmark.json`: what was asked for, found, not found, and what failed."""
    path = plan.out / RECORD
    try:
        runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
    except (OSError, ValueError, KeyError, TypeError):
        runs = []
    runs.append(
        {
            "command": shlex.join(["byol-a", *sys.argv[1:]]),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "package_version": __version__,
            "models": list(plan.models),
            "tasks": [{"name": found.name, "root": os.fspath(found.root)} for found in search.found],
            "not_found": search.missing,
            "notes": search.notes,
            "done": [account.found.name for account in accounts],
            "failures": [
                {"name": account.found.name, "root": os.fspath(account.found.root), "why": account.failures}
                for account in accounts
                if account.failures
            ],
        }
    )
    write_json(path, {"runs": runs})
