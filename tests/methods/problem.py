"""A small problem that methods are tried on: clips of eight classes of made-up log-mels, and two views of each."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from byol_a.config import build
from byol_a.encoders import create_encoder
from byol_a.methods import Method, create_method, method_class

CLASSES, MELS, FRAMES = 8, 16, 16
BATCH = 64


class Problem:
    """Each class is a smooth pattern over (F, T); a clip adds a pattern of its own, a view noise, gain and a shift."""

    def __init__(self, seed: int) -> None:
        self._random = torch.Generator().manual_seed(seed)
        self._patterns = self._smooth(CLASSES)

    def fresh(self) -> Problem:
        """The same classes with clips that nobody learned from, the same ones at each call."""
        problem = copy.copy(self)
        problem._random = torch.Generator().manual_seed(9000)
        return problem

    def clips(self, count: int) -> tuple[Tensor, Tensor]:
        """Clips (count, F, T) and their classes."""
        labels = torch.randint(CLASSES, (count,), generator=self._random)
        return self._patterns[labels] + 0.7 * self._smooth(count), labels

    def views(self, clips: Tensor, n_views: int) -> Tensor:
        """(V, B, 1, F, T) of clips (B, F, T)."""
        views = []
        for _ in range(n_views):
            shift = int(torch.randint(FRAMES, (), generator=self._random))
            gain = 1 + 0.3 * torch.randn(len(clips), 1, 1, generator=self._random)
            noise = 0.5 * torch.randn(clips.shape, generator=self._random)
            views.append(gain * clips.roll(shift, dims=2) + noise)
        return torch.stack(views).unsqueeze(2)

    def _smooth(self, count: int) -> Tensor:
        coarse = torch.randn(count, 1, 5, 5, generator=self._random)
        field = F.interpolate(coarse, (MELS, FRAMES), mode="bicubic", align_corners=True).squeeze(1)
        return field / field.std(dim=(1, 2), keepdim=True)


def method_for(seed: int, name: str = "byol", **settings: Any) -> Any:
    """The method called `name` with small networks, its weights drawn from `seed`."""
    values = {
        "name": name,
        "projector": {"hidden": 64, "out": 16},
        "predictor": {"hidden": 64},
        "tau": 0.97,
        **settings,
    }
    config = build(method_class(name).config_class, values, "test")
    torch.manual_seed(seed)
    options = method_class(name).encoder_options(config)
    encoder = create_encoder("AudioNTT2020", MELS, embedding_dim=32, channels=8, **options)
    return create_method(config, encoder).train()


def train(method: Method, problem: Problem, steps: int, lr: float = 3e-3) -> None:
    """Train on fresh clips."""
    optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr)
    for step in range(steps):
        clips, _ = problem.clips(BATCH)
        method.begin_step(step, steps)
        method(problem.views(clips, method.n_views)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        method.end_step(step, steps)


@torch.no_grad()
def projections(method: Any, problem: Problem, count: int = 256) -> tuple[Tensor, Tensor]:
    """Projections (B, P) of both views of fresh clips, in evaluation mode."""
    method.eval()
    problem = problem.fresh()
    view1, view2 = problem.views(problem.clips(count)[0], 2)
    (_, z1), (_, z2) = method.online(view1), method.online(view2)
    method.train()
    return z1, z2


@torch.no_grad()
def probe_accuracy(method: Any, problem: Problem) -> float:
    """Share of fresh clips whose class a ridge regression on the standardised embeddings finds."""
    method.eval()
    problem = problem.fresh()
    clips, labels = problem.clips(2048)
    embeddings = method.encoder(problem.views(clips, 1)[0]).double()
    method.train()
    rows = F.pad((embeddings - embeddings.mean(0)) / (embeddings.std(0) + 1e-6), (0, 1), value=1.0)
    train, test = slice(0, 1024), slice(1024, None)
    gram = rows[train].T @ rows[train] + torch.eye(rows.shape[1], dtype=rows.dtype)
    weights = torch.linalg.solve(gram, rows[train].T @ F.one_hot(labels[train], CLASSES).double())
    return float(((rows[test] @ weights).argmax(1) == labels[test]).double().mean())
