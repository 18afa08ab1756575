"""Any timm backbone as an audio encoder, reading the log-mel as a one-channel picture."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from byol_a.encoders.base import AudioEncoder
from byol_a.errors import UsageError, require

# What would fetch or read weights from elsewhere, compile code, or make another network than is needed here.
# (Everything that begins with `pretrained` as well.)
REFUSED_OPTIONS = frozenset(
    {"model_name", "checkpoint_path", "cache_dir", "scriptable", "exportable", "no_jit", "features_only"}
    | {"in_chans", "num_classes"}
)


class TimmEncoder(AudioEncoder):
    """A timm backbone; frame embeddings are the mean over frequency of its last feature map.

    The input is padded with zeros at the end, in frequency and in time, to whole patches where the backbone
    cuts patches. Attention, squeeze-and-excitation or a deep stack of convolutions let every output see the
    whole clip, so `frame_context` is None for all of them.

    Args:
        name: timm's model name, such as `"resnet18"` or `"vit_tiny_patch16_224"`. Always random weights.
        n_mels: F, mel bins of the input.
        n_frames: T the backbone is laid out for; backbones that can then take any other T as well.
        options: the backbone's own, passed on to `timm.create_model`; none that would load anything.

    Raises:
        UsageError: if timm has no such model, it cannot take this shape of input, or an option is not one of
            the backbone's own.
    """

    frame_context = None
    recordable = True  # backbones drop paths and patches on the device

    def __init__(self, name: str, n_mels: int = 64, n_frames: int = 96, **options: Any) -> None:
        super().__init__()
        self.n_mels = n_mels
        self.backbone, self._fixed_frames = _create_backbone(name, n_mels, n_frames, options)
        patch = getattr(getattr(self.backbone, "patch_embed", None), "patch_size", (1, 1))
        self._patch: tuple[int, int] = (int(patch[0]), int(patch[1]))
        self.min_frames = 1
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                silence = torch.zeros(1, 1, n_mels, n_frames)
                feature_map = self._feature_map(silence)
                sizes = [stage.shape[1] for stage in self._stages(silence)] + [feature_map.shape[3]]
        except (RuntimeError, AssertionError, ValueError) as error:
            raise UsageError(
                f"timm's {name!r} cannot take a log-mel of {n_mels} bins by {n_frames} frames: {error}"
            ) from error
        self.train(was_training)
        self.embedding_dim = feature_map.shape[1]
        self.layer_strides = tuple(max(1, n_frames // size) for size in sizes)
        self.frame_stride = self.layer_strides[-1]
        self.min_frames = self.frame_stride

    def frames(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Frame embeddings (B, T', D) of log-mels (B, 1, F, T).

        Raises:
            UsageError: for a padded batch, which a backbone that sees the whole clip cannot keep apart.
        """
        self._check(x, lengths)
        return _mean_over_frequency(self._feature_map(x))

    def layer_frames(self, x: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
        """Features over time (B, T_l, D_l) of each stage that timm can return, then the frame embeddings."""
        self._check(x, lengths)
        return [*self._stages(x), _mean_over_frequency(self._feature_map(x))]

    def _stages(self, x: Tensor) -> list[Tensor]:
        intermediates = getattr(self.backbone, "forward_intermediates", None)
        if intermediates is None:
            return []
        maps = intermediates(self._whole_patches(x), intermediates_only=True, output_fmt="NCHW")
        return [_mean_over_frequency(feature_map) for feature_map in maps]

    def _check(self, x: Tensor, lengths: Tensor | None) -> None:
        self.check_input(x, lengths)
        if self._fixed_frames is not None and x.shape[-1] != self._fixed_frames:
            raise UsageError(
                f"this timm encoder takes clips of exactly {self._fixed_frames} mel frames, not "
                f"{x.shape[-1]}; choose a backbone that takes any size, or the option n_frames"
            )

    def _whole_patches(self, x: Tensor) -> Tensor:
        return functional.pad(x, (0, -x.shape[3] % self._patch[1], 0, -x.shape[2] % self._patch[0]))

    def _feature_map(self, x: Tensor) -> Tensor:
        """The backbone's last features as a map (B, D, F', T')."""
        x = self._whole_patches(x)
        features: Tensor = self.backbone.forward_features(x)  # type: ignore[operator]
        if features.ndim == 3:
            # Tokens (B, prefix + F' * T', D): drop class and register tokens, lay the rest out as the grid.
            features = features[:, getattr(self.backbone, "num_prefix_tokens", 0) :]
            grid = (x.shape[2] // self._patch[0], x.shape[3] // self._patch[1])
            return features.transpose(1, 2).unflatten(2, grid)
        if getattr(self.backbone, "output_fmt", "NCHW") == "NHWC":
            return features.permute(0, 3, 1, 2)
        return features


def _mean_over_frequency(feature_map: Tensor) -> Tensor:
    return feature_map.mean(dim=2).transpose(1, 2)  # (B, D, F', T') -> (B, T', D)


def _create_backbone(name: str, n_mels: int, n_frames: int, options: dict[str, Any]) -> tuple[nn.Module, int | None]:
    """The backbone, and the only T it takes (None if it takes any)."""
    refused = sorted(key for key in options if key in REFUSED_OPTIONS or key.startswith("pretrained"))
    if refused:
        raise UsageError(f"a timm encoder does not take the option {', '.join(refused)}; leave it out of the options")
    timm = require("timm", "a timm encoder")
    if name not in timm.list_models():
        import difflib

        near = difflib.get_close_matches(name, timm.list_models(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "; timm.list_models() lists them"
        raise UsageError(f"timm has no model {name!r}{hint}")
    image = {"img_size": (n_mels, n_frames)}
    # Backbones differ in what they can be told about their input; ask for the most flexible first.
    for sizes, fixed in (({**image, "dynamic_img_size": True}, None), (image, n_frames), ({}, None)):
        try:
            return timm.create_model(name, pretrained=False, in_chans=1, num_classes=0, **{**sizes, **options}), fixed
        except TypeError as error:
            sizes_refused = any(f"'{key}'" in str(error) for key in sizes)
            if "unexpected keyword argument" not in str(error) or not sizes_refused:
                raise UsageError(f"timm cannot build {name!r} with the options {options}: {error}") from error
    raise AssertionError("the last attempt passes no size that could be refused")
