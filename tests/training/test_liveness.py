"""A process that dies, hangs or fails ends the whole job, soon, with one sentence that names it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist

from byol_a.errors import ByolaError, UsageError
from byol_a.training import liveness as module
from byol_a.training.ending import ProcessFailed, StoppedByPeer
from byol_a.training.job import Job
from byol_a.training.liveness import Liveness
from byol_a.training.roll_call import roll_call

from .launched import PROCESSES, Launched, is_running

needs_proc = pytest.mark.skipif(not (PROCESSES / "self" / "environ").exists(), reason="finds workers through /proc")
BEAT, SILENCE = 0.02, 0.6


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short waits; and what a verdict does to this process's signals is undone."""
    monkeypatch.setattr(module, "GRACE_SECONDS", 1.0)
    monkeypatch.setattr(module, "GONE_SECONDS", 0.4)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


class Watch:
    """Several processes' parts of the watch in one process, each with what it would end with."""

    def __init__(self, nodes: tuple[str, ...] = ("a", "a", "b"), silence: float = SILENCE) -> None:
        self.store = dist.HashStore()
        self.ends: list[list[str]] = [[] for _ in nodes]
        self.parts = [
            Liveness(self.store, rank, len(nodes), f"host-{node}", node, silence, BEAT, self.ends[rank].append)
            for rank, node in enumerate(nodes)
        ]

    def start(self, *ranks: int) -> None:
        for rank in ranks:
            self.parts[rank].start()

    def wait_for_ends(self, *ranks: int) -> list[str]:
        end = time.monotonic() + 20
        while not all(self.ends[rank] for rank in ranks):
            assert time.monotonic() < end, self.ends
            time.sleep(BEAT)
        return [self.ends[rank][0] for rank in ranks]

    def verdicts(self, *errors: BaseException) -> list[BaseException]:
        """What the first processes end with that meet these errors at the same time."""
        found: dict[int, BaseException] = {}
        threads = [
            threading.Thread(
                target=lambda rank=rank, error=error: found.update({rank: self.parts[rank].verdict(error)}), daemon=True
            )
            for rank, error in enumerate(errors)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        return [found[rank] for rank in range(len(errors))]

    def close(self) -> None:
        """End all watches, so that none goes on beside the tests that follow."""
        for part in self.parts:
            part._over.set()
        for part in self.parts:
            wait_for_threads(part)


@pytest.fixture
def watch(quick: None) -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.close()


def wait_for_threads(part: Liveness) -> None:
    for thread in (part._thread, part._guard):
        if thread.ident is not None:  # it was started
            thread.join(60)  # where there is no name server, torch looks for a lost store's name for a while
            assert not thread.is_alive()


def sleeping() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def silent_peer(watch: Watch, rank: int, pid: int) -> None:
    """A process that has shown one sign of life, and no more."""
    part = watch.parts[rank]
    watch.store.set(f"who/{rank}", f'["{part._host}", "{part._node}", {pid}]')
    watch.store.set(f"beat/{rank}", "17")


@pytest.mark.parametrize("rank", [0, 2])
def test_silence_of_any_process_ends_the_others(rank: int, watch: Watch) -> None:
    """The main process's is noticed by all, any other's by the main process, which tells the rest."""
    silent_peer(watch, rank, pid=0)
    others = [other for other in range(3) if other != rank]
    watch.start(*others)
    host = watch.parts[rank]._host
    for other, sentence in zip(others, watch.wait_for_ends(*others), strict=True):
        assert sentence.startswith(
            f"process {other} stopped, because process {rank} on {host} (pid 0) shows no sign of"
        )


def test_a_hanging_process_is_killed_by_those_beside_it(watch: Watch) -> None:
    hanging = sleeping()
    silent_peer(watch, 1, hanging.pid)
    watch.start(0, 2)
    beside, _ = watch.wait_for_ends(0, 2)
    assert beside.endswith("shows no sign of life: it hangs")
    assert hanging.wait(20) == -signal.SIGKILL


def test_a_process_of_another_node_is_not_touched(watch: Watch) -> None:
    """Its number may be another process's here."""
    bystander = sleeping()
    silent_peer(watch, 2, bystander.pid)
    watch.start(0, 1)
    for sentence in watch.wait_for_ends(0, 1):
        assert sentence.endswith("it was killed, hangs or is cut off")
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait(20)


def test_who_has_finished_may_be_silent(watch: Watch) -> None:
    watch.start(0, 1, 2)
    watch.parts[0].finish()
    watch.parts[2].finish()
    time.sleep(2 * SILENCE)
    assert watch.ends == [[], [], []]
    watch.parts[1].finish()


def test_the_last_to_leave_waits_for_the_others(watch: Watch) -> None:
    watch.start(0, 1, 2)
    leaving = threading.Thread(target=watch.parts[0].finish, kwargs={"wait_for_others": True}, daemon=True)
    leaving.start()
    watch.parts[1].finish()
    leaving.join(0.1)
    assert leaving.is_alive()
    watch.parts[2].finish()
    leaving.join(SILENCE / 2)
    assert not leaving.is_alive()


def test_an_error_everywhere_is_said_once_in_its_own_words(watch: Watch) -> None:
    watch.start(0, 1, 2)
    errors = [UsageError("the recipe is wrong") for _ in range(3)]
    verdicts = watch.verdicts(*errors)
    assert verdicts[0] is errors[0]
    assert [(type(verdict), verdict.args) for verdict in verdicts[1:]] == [(SystemExit, (2,))] * 2


def test_an_error_of_one_process_names_it_and_the_others_name_it_too(watch: Watch) -> None:
    watch.start(0, 1, 2)
    mine = watch.parts[1].verdict(ByolaError("the disk is full"))
    assert isinstance(mine, ProcessFailed)
    assert str(mine) == "process 1 on host-a failed: the disk is full"
    beside, elsewhere = watch.wait_for_ends(0, 2)
    assert beside == "process 0 stopped, because process 1 on host-a failed"  # which stands beside it in the output
    assert elsewhere == "process 2 stopped, because process 1 on host-a failed: the disk is full"


def test_a_broken_collective_call_is_blamed_on_the_process_that_died(watch: Watch) -> None:
    watch = Watch(silence=1000)  # long before its silence would tell
    silent_peer(watch, 2, pid=0)
    watch.start(0, 1)
    for verdict in watch.verdicts(*(RuntimeError("Connection closed by peer") for _ in range(2))):
        assert isinstance(verdict, StoppedByPeer)
        assert "because process 2 on host-b (pid 0) shows no sign of life" in str(verdict)
    watch.close()


def test_a_broken_collective_call_is_blamed_on_the_process_that_failed(watch: Watch) -> None:
    watch.start(0, 1, 2)
    collective = ByolaError("the checkpoint does not fit")
    collective.__cause__ = RuntimeError("Connection closed by peer")
    verdicts = watch.verdicts(RuntimeError("Connection closed by peer"), ByolaError("no such file"), collective)
    assert str(verdicts[1]) == "process 1 on host-a failed: no such file"
    assert str(verdicts[0]) == "process 0 stopped, because process 1 on host-a failed"
    assert str(verdicts[2]) == "process 2 stopped, because process 1 on host-a failed: no such file"


def test_a_runtime_error_of_its_own_is_found_to_be_its_own(watch: Watch) -> None:
    watch.start(0, 1, 2)
    verdict = watch.parts[2].verdict(RuntimeError("shapes do not match"))
    assert str(verdict).startswith("process 2 on host-b failed: RuntimeError: shapes do not match (run again with")


def test_without_its_store_a_process_ends(quick: None) -> None:
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    client = dist.TCPStore("127.0.0.1", server.port, is_master=False, wait_for_workers=False)
    ends: list[str] = []
    part = Liveness(client, 1, 2, "host", "node", SILENCE, BEAT, ends.append)
    part.start()
    del server
    wait_for_threads(part)
    assert ends == ["process 1 stopped, because the job's main process or its node has ended or is cut off"]


def test_a_store_that_falls_silent_ends_a_process(quick: None) -> None:
    """As when the machine that serves it loses its network: it neither answers nor closes its connections."""
    serve = (
        "import sys, time, torch.distributed as dist\n"
        "store = dist.TCPStore('127.0.0.1', 0, is_master=True, wait_for_workers=False)\n"
        "print(store.port, flush=True)\n"
        "time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", serve], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            client = dist.TCPStore("127.0.0.1", port, is_master=False, wait_for_workers=False)
            ends: list[str] = []
            part = Liveness(client, 1, 2, "host", "node", SILENCE, BEAT, ends.append)
            part.start()
            wait_for(lambda: part._rounds > 0)
            server.send_signal(signal.SIGSTOP)
            part._guard.join(20)
            assert ends == ["process 1 stopped, because the job's main process or its node has ended or is cut off"]
        finally:
            server.kill()
    wait_for_threads(part)


def test_a_roll_call_is_not_answered_by_the_dead() -> None:
    """Each start over the same store gets a name of its own, though the words and answers of others lie there."""
    store = dist.HashStore()
    store.set("word/1", "stale")
    names = []
    for _ in range(2):
        with ThreadPoolExecutor(3) as pool:
            calls = []
            for rank in (1, 0, 2):
                calls.append(pool.submit(roll_call, store, rank, 3, timedelta(seconds=60)))
                time.sleep(0.1)
            found = {call.result() for call in calls}
        assert len(found) == 1
        names.append(found)
    assert names[0] != names[1]


def test_a_roll_call_names_who_is_missing() -> None:
    with pytest.raises(ByolaError, match=r"2 of the job's processes have not started \(rank 1, 2\)"):
        roll_call(dist.HashStore(), 0, 3, timedelta(seconds=0.1))
    with pytest.raises(ByolaError, match="process 1 waited in vain"):
        roll_call(dist.HashStore(), 1, 3, timedelta(seconds=0.1))


def endless(recipe: Path, data: Path, run: Path, **env: str) -> Launched:
    arguments = ("pretrain", "--recipe", recipe, "--data", data, "--device", "cpu", "--out", run, "--steps", 100_000)
    return Launched("-m", "byol_a", *arguments, **env)


@needs_proc
def test_a_stopped_process_ends_the_job_and_leaves_nothing_behind(
    small_recipe: Path, sounds: Path, tmp_path: Path
) -> None:
    with endless(small_recipe, sounds, tmp_path / "run", BYOL_A_SILENCE_SECONDS="5") as job:
        job.wait_for_step(tmp_path / "run", 3)
        everyone = job.descendants()
        assert len(everyone) == 4  # each of the two has a process that reads
        victim = job.workers()[1]
        os.kill(victim, signal.SIGSTOP)
        assert job.wait(60) == 1
        assert job.errors == [
            f"byol-a: error: process 0 stopped, because process 1 on {os.uname().nodename} (pid {victim}) "
            "shows no sign of life: it hangs"
        ]
        assert "Gloo" not in job.output
        wait_for(lambda: not any(is_running(pid) for pid in everyone))


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_an_error_in_one_process_ends_the_job(small_recipe: Path, sounds: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ("pretrain", "--recipe", small_recipe, "--data", sounds, "--device", "cpu", "--out", run, "--steps", 9)
    fault = "1 ValueError 'the fan has stopped'"
    with Launched("-m", "tests.training.failing", *arguments, FAILS=fault) as job:
        assert job.wait() == 1
        host = os.uname().nodename
        assert sorted(job.errors) == [
            f"byol-a: error: process 0 stopped, because process 1 on {host} failed",
            f"byol-a: error: process 1 on {host} failed: ValueError: the fan has stopped (run again with --debug for "
            "the traceback)",
        ]
        assert "Root Cause" in job.output
        assert "process 1" in job.output.partition("Root Cause")[2]


def test_wrong_use_is_one_sentence(small_recipe: Path, tmp_path: Path) -> None:
    arguments = ("pretrain", "--recipe", small_recipe, "--data", "synth", "--device", "cpu", "--out", tmp_path / "run")
    with Launched("-m", "byol_a", *arguments, "training.batch_size=6", "training.accumulate=2") as job:
        assert job.wait() == 1
        assert len(job.errors) == 1
        assert "cannot be shared by 2 processes x 2 accumulated parts" in job.errors[0]
        assert "exitcode  : 2" in job.output


def test_what_the_environment_says_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(UsageError, match="RANK expected, but not set; use torchrun"):
        Job()
    for wrong in ("soon", "4", "nan"):
        monkeypatch.setenv("BYOL_A_SILENCE_SECONDS", wrong)
        with pytest.raises(UsageError, match="must be a number of seconds from 5 to 86400"):
            Job()
