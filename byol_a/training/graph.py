"""Training steps that are recorded once and then replayed: one launch in the place of some thousand.

A GPU that computes a step in milliseconds is kept waiting by the interpreter that launches every kernel of it. A CUDA
graph holds the whole step, forward and backward pass, optimiser and targets, as one thing to launch. It repeats what
was recorded to the letter, on the same memory. So all that differs from step to step is in tensors that are filled
before: the views, the learning rate, a method's own rates; random numbers come from torch's generator, whose state a
replay takes and moves on as a plain step does. What Python decides is decided when recording; where a method decides
differently at some steps, it has a key for these (`Method.replay_key`), and each key a recording of its own.

Who takes part must say of itself that it does the same at every step of a key: the method, its encoders and its
regularisers, each by its `recordable`.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from byol_a.encoders.base import AudioEncoder
from byol_a.methods import Method, StepOutput
from byol_a.training.config import TrainingConfig
from byol_a.training.distributed import Processes

WARM_UP = 3
"""Steps of a key that are taken plainly first: kernels are compiled and the optimiser's state is made in them."""

Work = Callable[[Iterable[Tensor], int], StepOutput]


class NotRecorded(Exception):
    """Why steps cannot be recorded, as a clause: "the step waits for the GPU"."""


class Recorder(Protocol):
    """What records work on a device; `byol_a.training.cuda_graph` has that of GPUs."""

    device: torch.device

    def run(self, work: Callable[[], StepOutput], obstacles: list[str] | None = None) -> StepOutput:
        """Do the work plainly, where it is going to be recorded.

        Args:
            work: what to do.
            obstacles: a list that is told, in clauses, what of the work cannot be recorded.
        """

    def record(self, work: Callable[[], StepOutput]) -> tuple[Callable[[], None], StepOutput]:
        """Record the work without doing it: what does it, and the output that it writes each time.

        Raises:
            NotRecorded: if that fails; nothing has changed then.
        """


class _Recording(NamedTuple):
    replay: Callable[[], None]
    output: StepOutput

    def replayed(self) -> StepOutput:
        """The step once more; its loss and terms are the caller's to keep."""
        self.replay()
        terms = {name: value.clone() for name, value in self.output.terms.items()}
        return self.output._replace(loss=self.output.loss.clone(), terms=terms)


class RecordedSteps:
    """The steps of one trainer, plain ones until they are recorded.

    The views of all parts of a step are in memory at once, as a recording reads them from one place: 100 KB for a clip
    with two views of 0.95 s, little beside what a network makes of it.

    Args:
        method: what is trained.
        optimizer: of its weights; it must take a tensor as a learning rate.
        recorder: for the method's device.
    """

    def __init__(self, method: Method, optimizer: Optimizer, recorder: Recorder) -> None:
        self._method, self._optimizer, self._recorder = method, optimizer, recorder
        self._rate = torch.zeros((), device=recorder.device)
        self._views: dict[Hashable, list[Tensor]] = {}  # of each part, where recorded work reads them
        self._recordings: dict[Hashable, _Recording] = {}
        self._taken: Counter[Hashable] = Counter()
        self._stopped = False
        method.prepare_recording(recorder.device)

    @property
    def replaying(self) -> bool:
        """Whether there are recorded steps by now, and recording them was not given up."""
        return bool(self._recordings)

    def step(
        self, work: Work, views: Iterable[Tensor], parts: int, rate: float, step: int, total_steps: int
    ) -> StepOutput:
        """One optimiser step, after the method's `begin_step`.

        Args:
            work: the step on the views of its parts and their number, from the forward pass to the method's `end_step`.
            views: (V, b, 1, F, T) of each part, all of one size.
            parts: how many there are.
            rate: the learning rate.
            step, total_steps: as the method is told them.

        Returns:
            What `work` does. Of a replayed step the next one overwrites embeddings and projections.
        """
        self._rate.fill_(rate)  # plain steps take it from there too: a resumed run does the same arithmetic
        with self._rate_in_tensor(rate):
            own = self._method.replay_key(step, total_steps)
            if own is None:
                self._stop("a part of the method does something else at each")
            if self._stopped:
                made = list(views)  # here, not on the recorder's stream
                return self._recorder.run(lambda: work(made, parts))
            inputs = self._filled(iter(views), parts)
            key = (own, parts, inputs[0].shape)
            if key not in self._recordings and self._taken[key] == WARM_UP:
                try:
                    self._recordings[key] = self._record(work, inputs)
                except NotRecorded as reason:
                    self._stop(str(reason))
                    self._method.begin_step(step, total_steps)  # again: the attempt may have left something behind
            if key in self._recordings:
                return self._recordings[key].replayed()
            self._taken[key] += 1
            obstacles: list[str] = []
            output = self._recorder.run(lambda: work(inputs, parts), obstacles if self._taken[key] == WARM_UP else None)
            if obstacles:
                self._stop(obstacles[0])
            return output

    def forget(self) -> None:
        """Record anew from now on: the optimiser's state has been replaced."""
        self._recordings.clear()
        self._taken.clear()

    def _filled(self, views: Iterator[Tensor], parts: int) -> list[Tensor]:
        """The views of all parts where recordings read them; no other copy of them outlives its part."""
        first = next(views)
        key = (parts, first.shape)
        if key not in self._views:
            self._views[key] = [torch.empty_like(first) for _ in range(parts)]
        inputs = self._views[key]
        inputs[0].copy_(first)
        del first  # before the next is made
        for there in inputs[1:]:
            _fill(there, next(views))
        return inputs

    def _record(self, work: Work, inputs: list[Tensor]) -> _Recording:
        with _capturable(self._optimizer):
            return _Recording(*self._recorder.record(lambda: work(inputs, len(inputs))))

    def _stop(self, reason: str) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._recordings.clear()
        self._views.clear()
        self._optimizer.zero_grad(set_to_none=True)
        _say(reason)

    @contextlib.contextmanager
    def _rate_in_tensor(self, rate: float) -> Iterator[None]:
        """Inside, the learning rate is a tensor; outside a number, as checkpoints hold it."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate
        try:
            yield
        finally:
            for group in self._optimizer.param_groups:
                group["lr"] = rate


def _fill(there: Tensor, part: Tensor) -> None:
    if part.shape != there.shape:
        raise ValueError(f"the parts of a step have the shapes {tuple(there.shape)} and {tuple(part.shape)}")
    there.copy_(part)


@contextlib.contextmanager
def _capturable(optimizer: Optimizer) -> Iterator[None]:
    """Inside, an optimiser of torch's lets itself be recorded; it warns of that flag in plain steps."""
    groups = [group for group in optimizer.param_groups if "capturable" in group]
    for group in groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in groups:
            group["capturable"] = False


def recorded_steps(
    method: Method, optimizer: Optimizer, processes: Processes, training: TrainingConfig
) -> RecordedSteps | None:
    """Steps to be recorded on a GPU, unless `training.fast` is off; None, and a line, where they cannot be."""
    if processes.device.type != "cuda" or training.fast == "off":
        return None
    # A class that inherits it may do more than the one that says it.
    who = (type(module) for module in method.modules() if isinstance(module, (Method, AudioEncoder)))
    silent = [kind.__name__ for kind in who if not vars(kind).get("recordable", False)]
    reason = None
    if processes.world_size > 1:
        reason = "several processes exchange gradients in them"
    elif silent:
        reason = f"{silent[0]} does not say that they can be (`recordable`)"
    if reason is not None:
        if processes.is_main:
            _say(reason)
        return None
    from byol_a.training.cuda_graph import CUDARecorder

    return RecordedSteps(method, optimizer, CUDARecorder(processes.device))


def _say(reason: str) -> None:
    print(f"steps are not recorded as a CUDA graph, because {reason}", file=sys.stderr, flush=True)
