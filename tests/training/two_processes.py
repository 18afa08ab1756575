"""What is tried out in two processes, and in one to compare: a program for `torchrun`, and the parts for the tests.

    torchrun --nproc-per-node 2 -m tests.training.two_processes OUT

Each process writes what it found to OUT/RANK.pt.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol_a.config import apply_overrides, build
from byol_a.methods.predictors import Predictor, create_predictor, predictor_entry
from byol_a.normalize import NormStats, post_norm
from byol_a.training.clip_list import ClipList
from byol_a.training.config import PretrainConfig
from byol_a.training.distributed import Processes, join_processes
from byol_a.training.sources import ClipSource
from byol_a.training.sync_batch_norm import synchronize_batch_norm
from byol_a.training.trainer import Trainer

from .small import values

STEPS = 10
SHARES = (slice(0, 7), slice(7, 12))  # of unequal size: nothing may take them for equal
WHOLE = slice(0, 12)
FILES = 7  # an epoch ends in the middle of a batch
TRAININGS = {
    "whole batch": [],
    "per clip": [],
    "tribyol": ["method=tribyol"],
    # Its matrix is computed from every process's clips; slowly, as rounding grows by way of it.
    "closed form": ["method.predictor=newton_schulz", "optimizer.lr=0.005"],
    # Slowly: a pair of clips that rounding takes across a threshold changes all that comes after.
    "pairs of clips": [
        "method.loss=cssl",
        "method.regularizers={uniformity: {}, mhe: {neurons: 8}}",
        "optimizer.lr=0.002",
    ],
}


def norms() -> dict[str, tuple[nn.Sequential, Tensor, Tensor]]:
    """Networks with each kind of batch norm, with 12 inputs in float64 and a weight for each output."""
    generator = torch.Generator().manual_seed(0)
    cases: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
        "1d": (nn.BatchNorm1d(3), (12, 3)),
        "2d": (nn.BatchNorm2d(3, eps=1e-3, momentum=0.3), (12, 3, 4, 5)),
        "cumulative": (nn.BatchNorm1d(3, momentum=None), (12, 3, 6)),
        "without weights": (nn.BatchNorm1d(3, affine=False), (12, 3)),
        "without memory": (nn.BatchNorm1d(3, track_running_stats=False), (12, 3)),
    }
    result = {}
    for name, (norm, shape) in cases.items():
        norm = nn.Sequential(norm).double()
        for parameter in norm.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        x = torch.randn(shape, generator=generator, dtype=torch.float64) * 2 + 5
        result[name] = norm, x, torch.randn(shape, generator=generator, dtype=torch.float64)
    return result


def normalized(norm: nn.Module, x: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Outputs, gradients and running statistics after two batches."""
    x = x.clone().requires_grad_()
    norm(x.detach() * 3 - 1)
    output = norm(x)
    (output * weight).square().sum().backward()
    found = {"output": output.detach(), "input.grad": x.grad}
    found |= {f"{name}.grad": parameter.grad for name, parameter in norm.named_parameters()}
    found |= dict(norm.named_buffers())
    norm.eval()
    found["eval"] = norm(x).detach()
    return {name: value for name, value in found.items() if value is not None}


def views() -> Tensor:
    """12 views of (F, T) = (4, 6), the later ones louder."""
    scale = torch.arange(12.0)[:, None, None]
    return torch.randn(12, 4, 6, generator=torch.Generator().manual_seed(1)) * (1 + scale) + scale


def write_files(folder: Path) -> list[Path]:
    """Noisy sounds of several lengths."""
    import soundfile

    folder.mkdir()
    paths = [folder / f"{number}.wav" for number in range(FILES)]
    for number, path in enumerate(paths):
        wave = np.random.default_rng(number).standard_normal(6000 + 2000 * number) * 0.05 * (1 + number)
        soundfile.write(path, wave.astype(np.float32), 16000)
    return paths


def train(processes: Processes, files: list[Path], per_clip: bool, changes: list[str]) -> dict[str, Tensor]:
    """Loss and waves of each step of a training without what is each process's own: mixup memory and dropout.

    Args:
        processes: this process among its peers.
        files: the sounds.
        per_clip: whether each clip is normalised alone; otherwise by the statistics of the whole batch.
        changes: of the recipe.
    """
    # Adam turns a gradient of rounding noise (that of a bias before a batch norm) into a whole step, sgd does not.
    # What shares its statistics takes the plain path, so that the one process has to as well.
    changes = ["augment.mixup=null", "optimizer.name=sgd", "optimizer.lr=0.02", "training.fast=off", *changes]
    changes += ["augment.post_norm=false"] if per_clip else ["training.sync_batch_norm=true"]
    config = build(PretrainConfig, apply_overrides(values(), changes), "test")
    trainer = Trainer(config, NormStats(-7.0, 4.0), processes, STEPS)
    for module in trainer.method.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if per_clip and isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.forward = MethodType(_per_clip, module)  # type: ignore[method-assign]
    losses, waves = [], []
    for part in ClipSource(ClipList.of_files(files), config, processes).batches(0, STEPS):
        losses.append(processes.mean(trainer.train_step([part]).loss))
        waves.append(part.wave)
    weights = torch.cat([parameter.detach().flatten() for parameter in trainer.method.parameters()])
    return {"losses": torch.stack(losses), "waves": torch.stack(waves), "weights": weights}


def _per_clip(norm: Any, x: Tensor) -> Tensor:
    return F.group_norm(x, 1, norm.weight, norm.bias)


def predictors() -> dict[str, tuple[Predictor, Tensor, Tensor]]:
    """Predictors that are computed from projections, in float64, with 12 rows of online and target ones."""
    generator = torch.Generator().manual_seed(2)
    online, target = torch.randn(2, 12, 4, generator=generator, dtype=torch.float64)
    names = ("newton_schulz", "neumann", "least_squares")
    return {name: (create_predictor(predictor_entry(name)[0](name), 4).double(), online, target) for name in names}


def talk(processes: Processes) -> dict[str, Any]:
    """What the processes say to each other."""
    rank = processes.rank
    vote = processes.vote()
    return {
        "any": [processes.any(False), processes.any(rank == 1), processes.any(True)],
        "mean": processes.mean(torch.tensor([1.0, 2.0]) * rank),
        "gather": processes.gather({"rank": rank}),
        "broadcast": processes.broadcast(["from", rank]),
        "votes": [vote(rank == 1 and step == 2) for step in range(5)],
    }


def main(out: Path) -> None:
    """All of it, in one process of two."""
    with join_processes("cpu") as processes:
        share = SHARES[processes.rank]
        found: dict[str, Any] = {"talk": talk(processes), "norms": {}}
        for name, (norm, x, weight) in norms().items():
            synchronize_batch_norm(norm, processes.device)
            found["norms"][name] = normalized(norm, x[share], weight[share])
        with torch.autocast("cpu", torch.bfloat16):
            norm, x, _ = norms()["2d"]
            synchronize_batch_norm(norm.float(), processes.device)
            found["bf16"] = norm(x[share].bfloat16()).detach()
            found["bf16 mean"] = dict(norm.named_buffers())["0.running_mean"]
        found["predictors"] = {}
        for name, (predictor, online, target) in predictors().items():
            predictor.fit(online[share], target[share])
            found["predictors"][name] = predictor.state_dict()
        found["post-norm"] = post_norm(views()[share], synchronized=True)
        files = write_files(out / "sounds") if processes.is_main else None
        files = processes.broadcast(files)
        for kind, changes in TRAININGS.items():
            found[kind] = train(processes, files, kind == "per clip", changes)
        torch.save(found, out / f"{processes.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
