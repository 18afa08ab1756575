"""One writer at a time, for as long as it lives."""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from byol_a.errors import UsageError
from byol_a.lock import WriterLock


def test_a_second_writer_is_refused_until_the_first_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byol_a.lock.PATIENCE_SECONDS", 0.1)
    path = tmp_path / "new" / ".lock"
    with WriterLock(path, "taken"):
        with pytest.raises(UsageError, match="taken"), WriterLock(path, "taken"):
            pass
        with WriterLock(tmp_path / "other" / ".lock", "taken"):
            pass
    with WriterLock(path, "taken"):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    script = (
        "import sys, time; from byol_a.lock import WriterLock\n"
        "with WriterLock(sys.argv[1], ''): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    threading.Timer(0.2, process.kill).start()
    with WriterLock(path, "taken"):  # it is waited for
        assert process.wait(20) < 0
    process.stdout.close()


def test_forked_workers_hold_the_lock_only_as_long_as_their_writer(tmp_path: Path) -> None:
    with WriterLock(tmp_path / ".lock", "taken"):
        worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), daemon=True)
        worker.start()
    with WriterLock(tmp_path / ".lock", "taken"):
        assert worker.is_alive()
    worker.kill()
    worker.join(20)
    assert worker.exitcode


def test_a_folder_that_its_writer_removed_is_locked_anew(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    first = WriterLock(folder / ".lock", "taken")
    first.__enter__()

    def finish() -> None:
        shutil.rmtree(folder)
        first.__exit__(None, None, None)

    timer = threading.Timer(0.2, finish)
    timer.start()
    with WriterLock(folder / ".lock", "taken") as second:
        timer.join()
        assert (folder / ".lock").samefile(second.path)


@pytest.mark.parametrize("error", [FileNotFoundError, FileExistsError])
def test_a_folder_that_goes_away_while_it_is_locked_is_made_again(
    error: type[OSError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("byol_a.lock.PATIENCE_SECONDS", 0.5)
    fail = "mkdir" if error is FileExistsError else "open"
    real, times = getattr(Path, fail), [0]

    def vanish(path: Path, *arguments: Any, **options: Any) -> Any:
        times[0] += 1
        if times[0] < 4:
            raise error(2, "gone", str(path))
        return real(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, fail, vanish)
        with WriterLock(tmp_path / "parts" / ".lock", "taken"):
            pass
    assert times[0] >= 4
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError), WriterLock(tmp_path / "file" / ".lock", "taken"):
        pass  # it does not go away
