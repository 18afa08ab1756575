"""A recorder for the CPU that does what a CUDA graph does: it repeats operations on the same memory, and nothing else.

Whatever Python decided, and every number that was not in a tensor, stays as it was when the tape was made. So a step
that replays rightly from a tape has nothing in it that a graph would freeze.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from byol_a.methods import StepOutput


class _Writer(TorchDispatchMode):
    """Writes down every operation below autograd, with the very tensors it read and made."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(function).startswith("aten._local_scalar_dense"):
            raise RuntimeError("operation not permitted when stream is capturing")
        made = function(*args, **(kwargs or {}))
        if not str(function).startswith("profiler."):
            self.operations.append((function, args, kwargs or {}, made))
        return made


class TapeRecorder:
    """See `byol_a.training.graph.Recorder`. Recording does the work once: a copy of all state must be put back."""

    device = torch.device("cpu")

    def __init__(self, state: Callable[[], list[Tensor]]) -> None:
        self._state = state
        self.recorded = self.replayed = 0

    def run(self, work: Callable[[], StepOutput], obstacles: list[str] | None = None) -> StepOutput:
        return work()

    def record(self, work: Callable[[], StepOutput]) -> tuple[Callable[[], None], StepOutput]:
        before = [tensor.detach().clone() for tensor in self._state()]
        generator = torch.get_rng_state()
        with _Writer() as writer:
            output = work()
        torch.set_rng_state(generator)
        with torch.no_grad():
            for tensor, value in zip(self._state(), before, strict=True):
                tensor.copy_(value)
        self.recorded += 1

        @torch.no_grad()
        def replay() -> None:
            self.replayed += 1
            for function, args, kwargs, made in writer.operations:
                again = function(*args, **kwargs)
                for old, new, returned in _outputs(function, made, again):
                    if returned.alias_info is None:
                        old.detach().copy_(new)

        return replay, output


def _outputs(function: Any, made: Any, again: Any) -> list[tuple[Tensor, Tensor, Any]]:
    returns = function._schema.returns
    if len(returns) == 1:
        made, again = (made,), (again,)
    found = []
    for returned, old, new in zip(returns, made, again, strict=True) if returns else ():
        pairs = zip(tree_leaves(old), tree_leaves(new), strict=True)
        found += [(a, b, returned) for a, b in pairs if isinstance(a, Tensor)]
    return found
