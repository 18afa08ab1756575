"""Recording work on a GPU as a CUDA graph."""

from __future__ import annotations

import contextlib
import random
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from byol_a.methods import StepOutput
from byol_a.training.graph import NotRecorded
from byol_a.words import one_line

_WAITS = "synchronizing CUDA operation"  # what torch warns of in its sync debug mode


class CUDARecorder:
    """Records on a stream of its own, where plain steps run too: what they leave behind for a stream is then there.

    All recordings that are in use share one pool of memory: each writes its intermediate results over the others',
    as only one is replayed at a time, and what a replay gives is there until the next one.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
        self._stream = torch.cuda.Stream(self.device)
        self._graphs: weakref.WeakSet[torch.cuda.CUDAGraph] = weakref.WeakSet()  # those that somebody may replay

    def run(self, work: Callable[[], StepOutput], obstacles: list[str] | None = None) -> StepOutput:
        """See `Recorder.run`."""
        current = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(current)
        # What waits for a result to decide on it cannot be recorded, and an attempt would not end well.
        with contextlib.ExitStack() as around:
            around.enter_context(torch.cuda.stream(self._stream))
            if obstacles is not None:
                around.enter_context(_watch_waits(obstacles))
                around.enter_context(watch_chance(obstacles))
            output = work()
        current.wait_stream(self._stream)
        return output

    def record(self, work: Callable[[], StepOutput]) -> tuple[Callable[[], None], StepOutput]:
        """See `Recorder.record`."""
        graph = torch.cuda.CUDAGraph()
        # A new pool where there is no recording: one that its last recording has left cannot be used again.
        pool = next((other.pool() for other in self._graphs), None) or torch.cuda.graph_pool_handle()
        generator = torch.cuda.default_generators[self.device.index]
        before = generator.clone_state()
        try:
            # The outer context puts the stream back where a recording that failed does not.
            with (
                torch.cuda.stream(torch.cuda.current_stream(self.device)),
                torch.cuda.graph(graph, pool=pool, stream=self._stream),
            ):
                output = work()
        except Exception as error:
            self._clean_up(generator, before, pool)
            # Its context is what the work raised, where the recording could not be ended then.
            raise NotRecorded(f"recording one failed ({_named(error.__context__ or error)})") from error
        self._graphs.add(graph)
        return graph.replay, output

    def _clean_up(self, generator: torch.Generator, before: torch.Generator, pool: Any) -> None:
        """Undo what the beginning of a recording did and its failed end did not undo."""
        generator.graphsafe_set_state(before)  # the old state waits for the recording's end for ever
        with contextlib.suppress(AttributeError, RuntimeError):  # it may have been undone
            torch._C._cuda_endAllocateToPool(self.device.index, pool)
            torch._C._cuda_releasePool(self.device.index, pool)
        torch.cuda.synchronize(self.device)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {one_line(error)[:200]}"


@contextlib.contextmanager
def watch_chance(obstacles: list[str]) -> Iterator[None]:
    """Note, as a clause, that random numbers were drawn on the CPU: a recording would repeat one draw for ever."""
    before = torch.get_rng_state(), random.getstate()
    yield
    if not torch.equal(before[0], torch.get_rng_state()) or before[1] != random.getstate():
        obstacles.append("a step draws random numbers on the CPU")


@contextlib.contextmanager
def _watch_waits(obstacles: list[str]) -> Iterator[None]:
    """Collect what torch says about operations that wait for the GPU, as clauses; other warnings pass."""
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(mode)
    for warning in caught:
        if _WAITS in str(warning.message):
            obstacles.append(f"a step waits for the GPU ({Path(warning.filename).name}, line {warning.lineno})")
        elif "Synchronization debug mode" not in str(warning.message):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
