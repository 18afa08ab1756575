"""`byol-a` with a fault: a program for `torchrun` in which one process fails at its fourth step, at the first start.

FAILS="1 OSError 'the disk is on fire'" torchrun --nproc-per-node 2 -m tests.training.failing pretrain ...
"""

from __future__ import annotations

import builtins
import os
import shlex
from typing import Any

from byol_a.cli import main
from byol_a.training.trainer import Trainer

RANK, KIND, TEXT = shlex.split(os.environ["FAILS"])
sound_step = Trainer.train_step


def train_step(trainer: Trainer, parts: Any) -> Any:
    """A step, or the fault."""
    if trainer.step == 3 and trainer.processes.rank == int(RANK):
        raise getattr(builtins, KIND)(TEXT)
    return sound_step(trainer, parts)


if __name__ == "__main__":
    Trainer.train_step = train_step  # type: ignore[method-assign]
    main()
