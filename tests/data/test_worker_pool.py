"""Work in processes that die: nothing is lost but the item that kills, twice."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from byol_a.data import worker_pool
from byol_a.data.worker_pool import Failure, map_chunks
from byol_a.errors import ByolaError, UsageError


def square(number: int) -> int:
    return number * number


def deadly(number: int) -> int:
    if number % 10 == 3:
        os._exit(7)
    if number % 10 == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    if number % 10 == 7:
        raise RuntimeError("seven")
    return number * number


def deadly_once(marker: Path) -> str:
    if not marker.exists():
        marker.touch()
        os._exit(1)
    return marker.name


def run(function: Callable[[Any], Any], chunks: list[list[Any]], workers: int = 2) -> list[tuple[Any, Any]]:
    pairs: list[tuple[Any, Any]] = []
    for items, results in map_chunks(function, chunks, workers):
        assert len(items) == len(results)
        pairs += list(zip(items, results, strict=True))
    return pairs


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_item_comes_back_once(workers: int) -> None:
    chunks = [list(range(begin, begin + 7)) for begin in range(0, 70, 7)]
    assert sorted(run(square, chunks, workers)) == [(number, number * number) for number in range(70)]
    assert run(square, []) == []


def test_only_the_items_that_kill_are_lost() -> None:
    results = dict(run(deadly, [list(range(begin, begin + 8)) for begin in range(0, 40, 8)]))
    assert sorted(results) == list(range(40))
    for number, result in results.items():
        if number % 10 in (3, 5):
            assert isinstance(result, Failure)
            assert result.crashed
        elif number % 10 == 7:
            assert result == Failure("RuntimeError: seven")
        else:
            assert result == number * number
    assert "code 7" in results[3].reason
    assert f"code {-signal.SIGKILL}" in results[5].reason


def test_who_only_died_once_is_not_blamed(tmp_path: Path) -> None:
    markers = [tmp_path / str(number) for number in range(6)]
    assert sorted(run(deadly_once, [[marker] for marker in markers])) == [(marker, marker.name) for marker in markers]


def test_a_process_killed_from_outside_costs_nothing() -> None:
    victims = 0
    results = []
    for _, done in map_chunks(square, ([number] for number in range(200)), 2):
        results += done
        if len(results) % 50 == 0:
            worker = multiprocessing.active_children()[0]
            os.kill(worker.pid or 0, signal.SIGKILL)
            victims += 1
    assert victims >= 3
    assert sorted(results) == [number * number for number in range(200)]


def test_closing_early_ends_the_processes() -> None:
    results = map_chunks(time.sleep, [[0.0], [60.0], [60.0]], 2)
    assert next(results) == ([0.0], [None])
    assert len(multiprocessing.active_children()) == 2
    results.close()
    assert multiprocessing.active_children() == []


def test_the_caller_is_heard_while_work_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "BEAT_SECONDS", 0.02)
    beats = [pair for pair in map_chunks(time.sleep, [[0.3]], 1) if pair == ([], [])]
    assert len(beats) > 3


def survive_signals(number: int) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    return number


def test_signals_are_for_the_parent() -> None:
    assert run(survive_signals, [[1, 2]]) == [(1, 1), (2, 2)]


@pytest.mark.parametrize("how", ["fail", "kill"])
def test_processes_end_with_their_parent(how: str) -> None:
    script = (
        "import sys, time, os, multiprocessing\n"
        "from byol_a.data.worker_pool import map_chunks\n"
        "work = map_chunks(time.sleep, [[0.0]] * 2 + [[600.0]] * 2, 2)\n"
        "next(work), next(work)\n"
        "print(*(child.pid for child in multiprocessing.active_children()), flush=True)\n"
        "if sys.argv[1] == 'fail': raise SystemExit(3)  # in the middle of the work\n"
        "next(work)\n"
        "time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, how], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        try:
            children = [int(pid) for pid in parent.stdout.readline().split()]
            assert len(children) == 2
            if how == "fail":
                assert parent.wait(20) == 3
        finally:
            parent.kill()
    deadline = time.monotonic() + 20
    while any(map(_is_alive, children)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_processes_that_cannot_begin_are_not_taken_for_deadly_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "_serve", lambda *_: os._exit(3))
    with pytest.raises(ByolaError, match="end with code 3 before they begin"):
        run(square, [[1]])


def test_less_than_one_worker_is_refused() -> None:
    with pytest.raises(UsageError, match="0 workers"):
        run(square, [[1]], 0)
