"""What the GPU's recorder does around a recording, with a stand-in for torch's part of it; see also `test_graph`."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from byol_a.methods import StepOutput
from byol_a.training import cuda_graph
from byol_a.training.graph import NotRecorded


class Pretended:
    """As much of torch as the recorder uses; pools are counted as torch's allocator counts their users."""

    device = torch.device

    def __init__(self, end_fails: bool = False) -> None:
        self.users: dict[int, int] = {}
        self.allocating_to: list[int] = []
        numbers = itertools.count(1)
        users = self.users

        class CUDAGraph:
            used: int | None = None

            def pool(self) -> int | None:
                return self.used

            def replay(self) -> None: ...

            def __del__(self) -> None:
                if self.used is not None:
                    users[self.used] -= 1

        @contextlib.contextmanager
        def graph(new: CUDAGraph, pool: int, stream: object) -> Iterator[None]:
            assert users.get(pool) != 0  # its last recording is gone
            users[pool] = users.get(pool, 0) + 1
            self.allocating_to.append(pool)
            try:
                yield
            finally:
                if end_fails:
                    raise RuntimeError("operation failed due to a previous error during capture")
                self.allocating_to.remove(pool)
                new.used = pool

        def end(_: int, pool: int) -> None:
            if pool not in self.allocating_to:
                raise RuntimeError("not recording to it")
            self.allocating_to.remove(pool)

        def release(_: int, pool: int) -> None:
            users[pool] -= 1

        generator = SimpleNamespace(clone_state=lambda: None, graphsafe_set_state=lambda _: None)
        self.cuda = SimpleNamespace(
            CUDAGraph=CUDAGraph,
            Stream=lambda _: None,
            current_device=lambda: 0,
            current_stream=lambda _: None,
            default_generators=[generator],
            graph=graph,
            graph_pool_handle=lambda: next(numbers),
            stream=lambda _: contextlib.nullcontext(),
            synchronize=lambda _: None,
        )
        self._C = SimpleNamespace(_cuda_endAllocateToPool=end, _cuda_releasePool=release)


def recorder(monkeypatch: pytest.MonkeyPatch, torch_: Pretended) -> cuda_graph.CUDARecorder:
    monkeypatch.setattr(cuda_graph, "torch", torch_)
    return cuda_graph.CUDARecorder(torch.device("cuda"))


def work() -> StepOutput:
    return StepOutput(torch.zeros(()), torch.zeros(1, 1), (), {})


def test_recordings_in_use_share_a_pool_and_a_pool_that_was_left_is_not_taken_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch_ = Pretended()
    one = recorder(monkeypatch, torch_)
    kept: list[Any] = [one.record(work) for _ in range(3)]
    assert torch_.users == {1: 3}
    del kept[0]  # the others hold the pool
    kept.append(one.record(work))
    assert torch_.users == {1: 3}
    kept.clear()
    kept.append(one.record(work))
    assert torch_.users == {1: 0, 2: 1}


@pytest.mark.parametrize("end_fails", [False, True])
def test_a_failed_recording_tells_the_cause_and_leaves_its_pool(
    monkeypatch: pytest.MonkeyPatch, end_fails: bool
) -> None:
    torch_ = Pretended(end_fails)
    one = recorder(monkeypatch, torch_)

    def wait() -> StepOutput:
        raise ValueError("not permitted when\nstream is capturing")

    with pytest.raises(NotRecorded, match=r"failed \(ValueError: not permitted when stream is capturing\)"):
        one.record(wait)
    assert torch_.users == {1: 0} and torch_.allocating_to == []
