"""Losses that look at the whole batch, on a share of it: a program for `torchrun`, and the parts for the tests.

    torchrun --nproc-per-node 2 -m tests.methods.losses.two_processes OUT

Each process writes what it found to OUT/RANK.pt.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from byol_a.methods.losses import CCSLConfig, CSSLConfig, create_loss
from byol_a.methods.regularizers import RegularizersConfig, UniformityConfig, create_regularizers
from byol_a.training.distributed import join_processes

BATCH = 12
WHOLE = slice(0, BATCH)

Objective = Callable[[Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]


def objectives() -> dict[str, Objective]:
    """What turns projections and targets into a loss and what it logs."""
    uniformity = create_regularizers(RegularizersConfig(uniformity=UniformityConfig()))["uniformity"]
    return {
        "ccsl": create_loss(CCSLConfig()),
        "cssl without guard": create_loss(CSSLConfig(guard=False)),
        "warm-up": create_loss(CCSLConfig(warmup_steps=1)),
        "beside byol": create_loss(CCSLConfig(beside_byol=True)),
        "uniformity": lambda prediction, _: (uniformity([], [prediction, prediction**2]), {}),
    }


def batch() -> tuple[Tensor, Tensor]:
    """Inputs and targets (12, 4), the second half of the clips more alike than the first."""
    x, z = torch.randn(2, BATCH, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[6:] += 2
    z[6:] += 2
    return x, z


def learned(objective: Objective, share: slice, parallel: bool) -> dict[str, Tensor]:
    """Loss, logged numbers and the gradient of a network's weights, for a share of the batch."""
    torch.manual_seed(1)
    network: nn.Module = nn.Linear(4, 4).double()
    weights = list(network.parameters())
    if parallel:
        network = DistributedDataParallel(network)
    x, z = batch()
    prediction = x[share] + 0.3 * network(x[share])
    loss, logged = objective(prediction, z[share])
    loss.backward()
    gradients = {f"gradient {number}": weight.grad for number, weight in enumerate(weights) if weight.grad is not None}
    return {"loss": loss.detach(), **logged, **gradients}


def main(out: Path) -> None:
    """One process of two."""
    with join_processes("cpu") as processes:
        rows = BATCH // processes.world_size
        share = slice(processes.rank * rows, (processes.rank + 1) * rows)
        found = {name: learned(objective, share, parallel=True) for name, objective in objectives().items()}
        for values in found.values():
            values["loss"] = processes.mean(values["loss"])  # each adds its rows
        torch.save(found, out / f"{processes.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
