"""A method small enough to be looked at in a test, and views for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from byol_a.config import build
from byol_a.encoders import create_encoder
from byol_a.methods import MethodConfig, create_method, method_class

HEADS = {"projector": {"hidden": 32, "out": 8}}


def small_method(name: str = "byol", **settings: Any) -> Any:
    """The method called `name` with small networks, in training mode, without dropout, always the same weights."""
    values = {**HEADS, **({} if "predictor" in settings else {"predictor": {"hidden": 16}}), **settings}
    config: MethodConfig = build(method_class(name).config_class, {"name": name, **values}, "test")
    torch.manual_seed(0)
    options = method_class(name).encoder_options(config)
    method = create_method(config, create_encoder("AudioNTT2020", 16, embedding_dim=24, **options))
    for module in method.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # masks differ from call to call
    return method.train()


def views(n_views: int = 2, batch: int = 6, seed: int = 1) -> Tensor:
    """(V, B, 1, F, T) of noise."""
    return torch.randn(n_views, batch, 1, 16, 32, generator=torch.Generator().manual_seed(seed))


def learn(method: Any, n_steps: int, lr: float = 3e-3, total_steps: int | None = None) -> list[float]:
    """Train on fresh noise for some steps; the loss at each."""
    optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr)
    losses = []
    for step in range(n_steps):
        method.begin_step(step, total_steps or n_steps)
        output = method(views(method.n_views, 16))
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        method.end_step(step, total_steps or n_steps)
        losses.append(output.loss.item())
    return losses
