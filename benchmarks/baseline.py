"""The straightforward implementation of BYOL-A v2, in full, which the speed of ours is a multiple of.

Written as one writes it from the papers (arXiv 2006.07733, 2103.06695, 2204.07402), each thing where it comes first to
mind: a dataset whose items are made clip by clip (`baseline_views`: crop, log-mel, normalisation, mixup, resize crop by
`F.interpolate`, fader), torch's `DataLoader` with as many workers as ours, everything in float32 and in torch's default
memory layout, one view after another through plain torch modules, torch's Adam as it is, the target by a loop over the
parameters.
The mathematics is ours, and the weights fit ours. Where the two had to share something, the baseline gains by it:
audio comes through our readers, and freed memory is kept for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import torch
import torch.nn.functional as F
from baseline_views import ClipViews
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler

from byol_a.data.clips import Clips
from byol_a.errors import UsageError
from byol_a.methods import BYOLConfig
from byol_a.methods.heads import HeadConfig
from byol_a.methods.predictors import MLPPredictorConfig
from byol_a.normalize import NormStats
from byol_a.training.config import PretrainConfig
from byol_a.training.sources import resolve_workers

Mark = Callable[[str], object]


def refuse_others(config: PretrainConfig) -> None:
    """Raise `UsageError` unless `config` is BYOL-A v2 at whatever sizes: nothing else is written here."""
    augment, method = config.augment, config.method
    same = (
        config.encoder.name == "AudioNTT2022"
        and set(config.encoder_options) <= {"hidden_dim", "channels"}
        and None not in (augment.mixup, augment.random_resize_crop, augment.fader)
        and augment.gaussian is None
        and augment.post_norm
        and isinstance(method, BYOLConfig)
        and method == _plain(method)
        and config.optimizer.name == "adam"
        and config.training.accumulate == 1
    )
    if not same:
        raise UsageError("--baseline is an implementation of BYOL-A v2; leave it out for what is not byola_v2")


def _plain(method: BYOLConfig) -> BYOLConfig:
    """BYOL with heads of the same sizes, and nothing else that is not in the papers."""
    projector = HeadConfig(method.projector.hidden, method.projector.out)
    predictor = MLPPredictorConfig(hidden=getattr(method.predictor, "hidden", 1))
    return BYOLConfig(projector=projector, predictor=predictor, tau=method.tau)


class Encoder(nn.Module):
    """AudioNTT2022: two blocks of convolution, norm, ReLU and pooling, an MLP on each frame, maximum plus mean."""

    def __init__(self, n_mels: int, hidden_dim: int = 2048, channels: int = 64) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for inputs in (1, channels):
            blocks += [nn.Conv2d(inputs, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*blocks)
        local_dim = channels * (n_mels // 4)
        self.embedding_dim = local_dim + hidden_dim
        self.fc = nn.Sequential(
            nn.Linear(local_dim, hidden_dim), nn.ReLU(), nn.Dropout(0.3), nn.Linear(hidden_dim, hidden_dim), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, F, T) -> (B, D)."""
        local = self.features(x).permute(0, 3, 2, 1).flatten(2)
        frames = torch.cat([local, self.fc(local)], dim=-1)
        return frames.amax(dim=1) + frames.mean(dim=1)


def head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Linear, norm, ReLU, Linear."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, outputs))


class Network(nn.Module):
    """Encoder and projector."""

    def __init__(self, config: PretrainConfig) -> None:
        super().__init__()
        projector = cast("BYOLConfig", config.method).projector
        self.encoder = Encoder(config.frontend.n_mels, **config.encoder_options)
        self.projector = head(self.encoder.embedding_dim, projector.hidden, projector.out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, F, T) -> (B, P)."""
        return self.projector(self.encoder(x))


class Baseline:
    """Networks, optimiser and data of the straightforward implementation.

    Raises:
        UsageError: if `config` is not BYOL-A v2.
    """

    def __init__(self, config: PretrainConfig, clips: Clips, stats: NormStats, device: torch.device) -> None:
        refuse_others(config)
        method = cast("BYOLConfig", config.method)
        self.config, self.tau, self.device = config, method.tau, device
        self.workers = resolve_workers(config.data.workers)
        self.dataset = ClipViews(clips, config, stats)
        self.online = Network(config).to(device)
        self.target = Network(config).to(device).requires_grad_(False)
        self.target.load_state_dict(self.online.state_dict())
        predictor = cast("MLPPredictorConfig", method.predictor)
        self.predictor = head(method.projector.out, predictor.hidden, method.projector.out).to(device)
        learned = [*self.online.parameters(), *self.predictor.parameters()]
        self.optimizer = torch.optim.Adam(learned, lr=config.optimizer.lr, weight_decay=config.optimizer.weight_decay)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of both views, (B, F, T) each, for ever."""
        # Drawn with replacement: no epoch ends, where the workers of a small folder would begin anew.
        loader = DataLoader(
            self.dataset,
            batch_size=self.config.training.batch_size,
            sampler=RandomSampler(self.dataset, replacement=True, num_samples=10**9),
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
        )
        return iter(loader)

    def post_norm(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Both views (B, F, T) to the device, normalised together: (2, B, 1, F, T)."""
        views = torch.stack([view.to(self.device, non_blocking=True) for view in batch])
        return ((views - views.mean()) / views.std()).unsqueeze(2)

    def loss(self, views: Tensor, mark: Mark = lambda stage: None) -> Tensor:
        """`l(p1, z2) + l(p2, z1)`, `l = 2 - 2 cos`, mean over the batch (BYOL, eq. 2); `mark` hears what begins."""
        view1, view2 = views
        mark("forward online")
        prediction1 = self.predictor(self.online(view1))
        prediction2 = self.predictor(self.online(view2))
        with torch.no_grad():
            mark("forward target")
            target1 = self.target(view1)
            target2 = self.target(view2)
        mark("forward online")
        loss1 = 2.0 - 2.0 * F.cosine_similarity(prediction1, target2, dim=-1)
        loss2 = 2.0 - 2.0 * F.cosine_similarity(prediction2, target1, dim=-1)
        return (loss1 + loss2).mean()

    def update(self, views: Tensor, mark: Mark = lambda stage: None) -> Tensor:
        """One step on views (2, B, 1, F, T); returns the loss."""
        loss = self.loss(views, mark)
        mark("backward")
        self.optimizer.zero_grad()
        loss.backward()
        mark("optimiser")
        self.optimizer.step()
        mark("EMA")
        with torch.no_grad():
            for theta, xi in zip(self.online.parameters(), self.target.parameters(), strict=True):
                xi.copy_(self.tau * xi + (1.0 - self.tau) * theta)
        mark("rest")
        return loss.detach()
