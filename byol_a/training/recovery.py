"""What a resumed run does about a checkpoint that is damaged (go back to the one before it) or of another run."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import torch

from byol_a.errors import ByolaError
from byol_a.training.checkpoint import DamagedCheckpoint, link_or_copy, load_checkpoint, previous_of
from byol_a.training.ending import sentence


def mend_checkpoint(path: Path) -> bool:
    """See to it that `path` is a good checkpoint, if need be by going back to the one before it.

    A damaged file is renamed, never deleted, and a line says at which step the run goes on.

    Returns:
        Whether there is a checkpoint to go on from; False if none was ever written.

    Raises:
        ByolaError: if no good one is left.
    """
    previous = previous_of(path)
    damaged: list[DamagedCheckpoint] = []
    for candidate in filter(Path.exists, (path, previous)):
        try:
            step = load_checkpoint(candidate)["step"]
        except DamagedCheckpoint as damage:
            damaged.append(damage)
        else:
            if candidate == previous:
                what = _set_aside(damaged[0]) if damaged else f"the checkpoint {path} is missing"
                link_or_copy(previous, path)
                print(f"{what}; the run goes on from {previous.name}, at step {step}", flush=True)
            return True
    copies = sorted(path.parent.glob("step-*.pt"), key=lambda copy: (len(copy.name), copy.name))
    if not damaged and not copies:
        return False
    raise ByolaError(_no_way_on(path, damaged, copies))


def _set_aside(damage: DamagedCheckpoint) -> str:
    name = f"{damage.path.name}.damaged"
    numbered = (f"{name}.{number}" for number in itertools.count(2))
    aside = next(free for free in itertools.chain([name], numbered) if not damage.path.with_name(free).exists())
    damage.path.replace(damage.path.with_name(aside))
    return f"{damage}; it is kept as {aside}"


def _no_way_on(path: Path, damaged: list[DamagedCheckpoint], copies: list[Path]) -> str:
    """The sentence for a run without a good `last.pt` or `previous.pt`."""
    said = "; ".join(map(str, damaged)) or f"the checkpoint {path} is missing"
    for copy in reversed(copies):
        try:
            step = load_checkpoint(copy)["step"]
        except ByolaError:
            continue
        return f"{said}; copy {copy.name}, which is whole and of step {step}, over {path} and use --resume again"
    other = f"none of the {len(copies)} step-N.pt beside it is whole" if copies else "there is no step-N.pt beside it"
    return f"{said}; {other}; put one back from a backup, or start a new run with another --out"


@contextlib.contextmanager
def fits(checkpoint: Path) -> Iterator[None]:
    """Taking over a checkpoint: what goes wrong is for lack of memory, or because it is of another run."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ByolaError(
            f"the checkpoint {checkpoint} does not fit the run's settings ({sentence(error)[:200]}); if it is another "
            f"run's, put this one's in its place ({previous_of(checkpoint).name}, if it is there)"
        ) from error
