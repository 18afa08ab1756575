"""Norm layers and weight standardisation, selectable for trunk and heads (Garg & Jain 2022, arXiv 2204.04545).

Batch norm ties the clips of a batch together; layer norm, group norm and none keep them apart. Weight standardisation
(Qiao et al. 2019, arXiv 1903.10520) makes up for most of what a trunk loses without batch norm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from byol_a.encoders.base import AudioEncoder
from byol_a.encoders.parametrizations import original_weight, weight_layers, weight_steps
from byol_a.errors import UsageError

NormKind = Literal["batch", "layer", "group", "none"]
EPSILON = 1e-5
TINY = 1e-24  # added to variances, so that there is an inverse of 0


@dataclass
class NormConfig:
    """Which norm layer stands where batch norm stands in BYOL, and whether weights are standardised.

    Attributes:
        kind: `"batch"`; `"layer"`, over all channels (and positions) of a clip; `"group"`, over each group of
            channels (and positions) of a clip; `"none"`.
        groups: the most groups of a group norm; a layer takes the greatest common divisor of it and its channels.
        weight_standardization: whether the filters of convolutions and linear layers are standardised; `"scaled"`:
            and divided by the square root of their size, see `WeightStandardization`.

    Raises:
        UsageError: for another kind, or fewer than one group.
    """

    kind: NormKind = "batch"
    groups: int = 16
    weight_standardization: bool | Literal["scaled"] = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(NormKind):
            raise UsageError(f"there is no norm {self.kind!r}; there are {', '.join(get_args(NormKind))}")
        if not isinstance(self.groups, int) or isinstance(self.groups, bool) or self.groups < 1:
            raise UsageError(f"a group norm needs at least one group, not {self.groups!r}")
        if not isinstance(self.weight_standardization, bool) and self.weight_standardization != "scaled":
            raise UsageError(f'weight standardisation is true, false or "scaled", not {self.weight_standardization!r}')


def head_norm(config: NormConfig, features: int) -> nn.Module:
    """The norm layer of a head, (B, features) to the same shape.

    Raises:
        UsageError: for a group norm whose groups would be single features, of which it would leave zeros.
    """
    if config.kind == "batch":
        return nn.BatchNorm1d(features)
    if config.kind == "layer":
        return nn.LayerNorm(features)
    if config.kind == "group":
        groups = math.gcd(config.groups, features)
        if groups == features:
            raise UsageError(
                f"{groups} groups of a layer of {features} units would be single units; take a norm of fewer groups"
            )
        return nn.GroupNorm(groups, features)
    return nn.Identity()


def change_norms(encoder: AudioEncoder, config: NormConfig) -> None:
    """Replace an encoder's batch norms and standardise its weights, in place, as `config` says.

    Layer and group norm take the place of a batch norm with its initial slope and offset, and normalise a clip by its
    own statistics over all positions. So every output sees the whole clip, and `frame_context` becomes None.

    Raises:
        UsageError: if there is no batch norm to replace, or one that is more than that, such as timm's batch norm
            with an activation.
    """
    if config.kind != "batch":
        replaced = 0
        for parent in list(encoder.modules()):
            for name, norm in parent.named_children():
                if isinstance(norm, _BatchNorm):
                    setattr(parent, name, _replacement(norm, config))
                    replaced += 1
        if not replaced:
            raise UsageError(f"the encoder has no batch norm that norm={config.kind!r} could replace; leave it out")
        if config.kind != "none":
            encoder.frame_context = None
    if config.weight_standardization:
        standardize_weights(encoder, scaled=config.weight_standardization == "scaled")


def _replacement(norm: _BatchNorm, config: NormConfig) -> nn.Module:
    if type(norm) is not nn.BatchNorm2d:
        raise UsageError(
            f"norm={config.kind!r} cannot take the place of the encoder's {type(norm).__name__}; leave it out, or "
            "choose an encoder with plain batch norms, such as timm:resnet18"
        )
    if config.kind == "none":
        return nn.Identity()
    groups = 1 if config.kind == "layer" else math.gcd(config.groups, norm.num_features)
    replacement = nn.GroupNorm(groups, norm.num_features, norm.eps, norm.affine)
    if norm.affine:
        replacement.weight, replacement.bias = norm.weight, norm.bias
    return replacement.train(norm.training)


class WeightStandardization(nn.Module):
    """Each filter minus its mean, over its standard deviation + 1e-5: a weight (out, ...) to the same shape.

    The deviation is that of all n weights of a filter (over n, not n - 1: our choice). A standardised layer's outputs
    are about sqrt(n) times its inputs, which a norm layer behind it takes back. Where there is none, as in the MLP of
    AudioNTT, they grow from layer to layer; `scaled` divides by sqrt(n), as Brock et al. 2021 do (arXiv 2101.08692).
    """

    def __init__(self, scaled: bool = False) -> None:
        super().__init__()
        self.scaled = scaled

    def forward(self, weight: Tensor) -> Tensor:
        """Standardise every filter, in float32 at least; the layout in memory stays, channels last or first."""
        channels_last = weight.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last)
        laid_out = weight.permute(0, 2, 3, 1) if channels_last else weight
        filters = laid_out.flatten(start_dim=1).to(torch.promote_types(weight.dtype, torch.float32))
        gain = filters.shape[1] ** -0.5 if self.scaled else 1.0
        standardized: Tensor = _Standardize.apply(filters, gain)
        standardized = standardized.to(weight.dtype).view(laid_out.shape)
        return standardized.permute(0, 3, 1, 2) if channels_last else standardized


class _Standardize(torch.autograd.Function):
    """Rows w (N, n) to `gain (w - mean) / (std + e)`, by the kernels of layer norm: a sixth of the time of others.

    Their gradient is that of `(w - mean) r` with r = 1 / std, namely `r (P g - r^2 (w - mean) mean(g (w - mean)))`, P g
    being g minus its mean. Ours has 1 / (std + e) in the place of the first r and 1 / (std (std + e)) in the place of
    r^2: so the kernel is given the root of the latter as r, and what it returns is put right by a factor.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, gain: float) -> Tensor:
        standardized, mean, inverse = torch.native_layer_norm(rows, [rows.shape[1]], None, None, TINY)
        ctx.save_for_backward(rows, mean, inverse)
        ctx.gain = gain  # type: ignore[attr-defined]
        # Not in place: of a function that ends in an in-place operation torch.compile loses the gradient.
        return standardized * (gain / (1.0 + EPSILON * inverse))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        rows, mean, inverse = ctx.saved_tensors
        share = 1.0 / (1.0 + EPSILON * inverse)  # std / (std + e)
        result = torch.ops.aten.native_layer_norm_backward(
            gradient.contiguous(),
            rows,
            [rows.shape[1]],
            mean,
            inverse * share.sqrt(),
            None,
            None,
            [True, False, False],
        )[0]
        return result.mul_(ctx.gain * share.sqrt()), None


def standardize_weights(module: nn.Module, scaled: bool = False) -> None:
    """Standardise the weight of every convolution and linear layer in `module`, itself included, from now on; in place.

    The parameter is called `parametrizations.weight.original` then. Filters of a single weight (a depthwise 1x1
    convolution), of which nothing would be left, stay as they are. Doing it twice is doing it once.
    """
    for layer in weight_layers(module):
        done = any(isinstance(step, WeightStandardization) for step in weight_steps(layer))
        if not done and original_weight(layer)[0].numel() > 1:
            parametrize.register_parametrization(layer, "weight", WeightStandardization(scaled))
