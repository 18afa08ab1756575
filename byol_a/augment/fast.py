"""Views by a device's kernels: what `Views.apply` computes step by step, in one pass for each clip and view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from byol_a.kernels import Kernels, kernels_for
from byol_a.kernels.guards import is_ordinary
from byol_a.normalize import mean_and_std

if TYPE_CHECKING:
    from byol_a.augment.mixup import Mixup
    from byol_a.augment.views import ViewParams, Views


def kernels_of(x: Tensor, mixup: Mixup | None) -> Kernels | None:
    """The kernels for log-mels x, where there are some: they have no gradient and know float32 and float64."""
    usable = (
        is_ordinary(x)
        and x.dtype in (torch.float32, torch.float64)
        and (mixup is None or (mixup.memory.dtype == x.dtype and mixup.memory.shape[1:] == x.shape[-2:]))
        and not (x.requires_grad and torch.is_grad_enabled())
    )
    kernels = kernels_for(x.device) if usable else None
    return kernels if kernels is not None and kernels.makes_views else None


def make_views(kernels: Kernels, views: Views, clips: Tensor, mixed: Tensor, params: ViewParams) -> Tensor:
    """`Views.apply` from mixup on: (V, B, F, T).

    Args:
        kernels: of the clips' device.
        views: whose memory takes the clips in.
        clips: (B, F, T), as they are remembered.
        mixed: the clips after Gaussian mixing, (B, F, T) or (V, B, F, T).
        params: of all augmentations.
    """
    size = (views.n_views, len(clips))
    x = mixed.contiguous().expand(*size, *clips.shape[1:])
    out = x.new_empty(x.shape)
    memory, slots, ratios = None, torch.zeros(0, dtype=torch.int64), x.new_zeros(0)
    crops = fades = None
    if views.mixup is not None and params.mixup is not None and views.mixup.filled > 0:
        partners = params.mixup.to(x.device)
        memory = views.mixup.memory.contiguous()
        slots = views.mixup.slots(partners).expand(size).contiguous()
        ratios = partners.ratio.to(x.dtype).expand(size).contiguous()
    if views.random_resize_crop is not None and params.random_resize_crop is not None:
        crop = views.random_resize_crop.windows(x, params.random_resize_crop)
        crops = torch.stack([side.expand(size) for side in (crop.top, crop.left, crop.height, crop.width)], dim=-1)
    if views.fader is not None and params.fader is not None:
        fader = params.fader.to(x.device)
        fades = torch.stack([end.to(x.dtype).expand(size) for end in (fader.start, fader.end)], dim=-1)
    moments = kernels.make_views(x, memory, slots, ratios, crops, fades, out)
    if views.mixup is not None and params.mixup is not None:
        views.mixup.push(clips)
    if views.config.post_norm:
        mean, std = mean_and_std(moments, views.synchronized)
        kernels.standardize(out, mean, std.clamp_min(torch.finfo(x.dtype).eps))
    return out
