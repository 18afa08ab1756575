"""Data workers that die, hang about or meet an error: the batches are the same, and no process is left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from byol_a.data import reader
from byol_a.data.crops import Key, Problems, RandomCrops
from byol_a.data.loader import load_crops
from byol_a.errors import ByolaError

S = 2000
KEYS: list[list[Key]] = [[(n // 3, index) for index in (0, n % 4, 4)] for n in range(24)] + [[(9, 1)]]


@pytest.fixture
def files(tmp_path: Path, write_wav: Callable[..., Path]) -> list[Path]:
    (tmp_path / "empty.wav").touch()
    return [*(write_wav(tmp_path / f"{n}.wav", 0.2 + 0.1 * n, seed=n) for n in range(4)), tmp_path / "empty.wav"]


@pytest.fixture
def crops(files: list[Path]) -> RandomCrops:
    return RandomCrops(files, S, 16000, seed=1)


def workers() -> list[int]:
    return [process.pid for process in multiprocessing.active_children() if process.pid is not None]


def same(found: list[tuple[torch.Tensor, Problems]], expected: list[tuple[torch.Tensor, Problems]]) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(torch.equal(a, b) and sorted(p) == sorted(q) for (a, p), (b, q) in pairs)


@pytest.mark.parametrize("count", [1, 2, 40])
def test_batches_do_not_depend_on_the_workers(count: int, crops: RandomCrops) -> None:
    assert same(list(load_crops(crops, KEYS, count)), list(load_crops(crops, KEYS, 0)))
    assert not workers()


def test_nothing_to_read_starts_nothing(crops: RandomCrops) -> None:
    assert list(load_crops(crops, [], 2)) == []


def test_workers_that_are_not_forked(crops: RandomCrops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "START_METHOD", "spawn")
    assert same(list(load_crops(crops, KEYS[:3], 1)), list(load_crops(crops, KEYS[:3], 0)))


def test_killed_workers_are_replaced_and_nothing_is_lost(crops: RandomCrops, capfd: pytest.CaptureFixture[str]) -> None:
    found = []
    for n, batch in enumerate(load_crops(crops, KEYS, 2)):
        found.append(batch)
        if n in (0, 5, 6, 15):
            for pid in workers()[: 2 if n == 5 else 1]:
                os.kill(pid, signal.SIGKILL)
    assert same(found, list(load_crops(crops, KEYS, 0)))
    said = [line for line in capfd.readouterr().err.splitlines() if "data worker" in line]
    assert 1 <= len(said) <= 5
    assert set(said) == {"a data worker was ended by signal 9 (SIGKILL); another one takes its place"}
    assert not workers()


def test_signals_to_the_whole_group_leave_the_workers_alone(
    crops: RandomCrops, capfd: pytest.CaptureFixture[str]
) -> None:
    found = []
    for n, batch in enumerate(load_crops(crops, KEYS, 2)):
        found.append(batch)
        if n == 3:
            for pid in workers():
                os.kill(pid, signal.SIGTERM)
                os.kill(pid, signal.SIGINT)
    assert len(found) == len(KEYS)
    assert capfd.readouterr().err == ""


class DeadlyCrops(RandomCrops):
    """Reading one clip takes the process down, as a bug in a decoder would."""

    deadly: int
    only_once: Path | None = None

    def batch(self, keys: Sequence[Key], out: torch.Tensor | None = None) -> tuple[torch.Tensor, Problems]:
        if any(key[1] == self.deadly for key in keys) and not (self.only_once and self.only_once.exists()):
            if self.only_once:
                self.only_once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().batch(keys, out)


def test_a_file_that_kills_its_reader_once(files: list[Path], crops: RandomCrops, tmp_path: Path) -> None:
    deadly = DeadlyCrops(files, S, 16000, seed=1)
    deadly.deadly, deadly.only_once = 2, tmp_path / "done"
    assert same(list(load_crops(deadly, KEYS, 1)), list(load_crops(crops, KEYS, 0)))


def test_a_file_that_always_kills_its_reader_is_named(files: list[Path]) -> None:
    deadly = DeadlyCrops(files, S, 16000, seed=1)
    deadly.deadly = 2
    found = []
    with pytest.raises(ByolaError, match=r"3 data workers died .*SIGKILL.* while it read .*2\.wav; if memory ran out"):
        for batch in load_crops(deadly, KEYS, 2):
            found.append(batch)
    assert len(found) == 2  # all that came before
    assert not workers()


class FailingCrops(RandomCrops):
    error: Exception

    def batch(self, keys: Sequence[Key], out: torch.Tensor | None = None) -> tuple[torch.Tensor, Problems]:
        raise self.error


class Stubborn(Exception):
    """Cannot be unpickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("stubborn")


@pytest.mark.parametrize(
    ("error", "expected"),
    [(ByolaError("no file"), ByolaError), (MemoryError("all gone"), MemoryError), (Stubborn(1, 2), RuntimeError)],
)
def test_an_error_comes_home_as_it_is(error: Exception, expected: type[Exception], files: list[Path]) -> None:
    crops = FailingCrops(files, S, 16000, seed=1)
    crops.error = error
    with pytest.raises(expected, match=str(error)) as caught:
        list(load_crops(crops, KEYS, 2))
    if expected is not ByolaError:
        assert "in batch" in str(caught.value.__cause__)  # the worker's traceback
    assert not workers()


def test_leaving_early_ends_the_workers(crops: RandomCrops) -> None:
    batches = load_crops(crops, KEYS, 2)
    next(batches)
    assert len(workers()) == 2
    batches.close()
    assert not workers()


PROGRAM = """
import multiprocessing, os, sys, time
from byol_a.data.crops import RandomCrops
from byol_a.data.loader import load_crops

crops = RandomCrops(sys.argv[2:], 2000, 16000, seed=1)
batches = load_crops(crops, ([(epoch, 0), (epoch, 1)] for epoch in range(10**9)), 3)
next(batches)
print(*(process.pid for process in multiprocessing.active_children()), flush=True)
if sys.argv[1] == "fail":
    raise SystemExit(3)  # with the batches, and the workers, still there
time.sleep(600)
"""


def exists(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
@pytest.mark.parametrize("how", ["fail", "kill"])
def test_workers_do_not_outlive_the_main_process(how: str, files: list[Path]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how, *map(str, files)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        try:
            pids = [int(pid) for pid in process.stdout.readline().split()]
            assert len(pids) == 3
            if how == "kill":
                process.kill()
            assert process.wait(timeout=20) == (3 if how == "fail" else -signal.SIGKILL)
        finally:
            process.kill()
    deadline = time.monotonic() + 20
    while any(map(exists, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(exists, pids))
