"""The convolutional encoders of BYOL-A: AudioNTT2020 (v1) and AudioNTT2022 (v2).

The state-dict keys are those of the published weights (`features.*`, `fc.*`), so that these can be imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from byol_a.encoders.base import AudioEncoder, evaluating, valid_positions
from byol_a.encoders.dropout import Dropout
from byol_a.encoders.packed import PackedAudioNTT
from byol_a.encoders.variational import is_variational
from byol_a.errors import UsageError
from byol_a.kernels import Kernels, kernels_for, why_none
from byol_a.kernels.functions import first_block, later_block, linear, map_type, relu_dropout, relu_pool_time
from byol_a.kernels.guards import is_ordinary, is_plain_linear, is_watched
from byol_a.pooling import TimePooling

CHANNELS = 64
LAYERS_PER_BLOCK = 4


class AudioNTT(AudioEncoder):
    """Blocks of 3x3 convolution, then an MLP on each frame; the common part of v1 and v2."""

    has_fast_path = True

    def __init__(self, n_mels: int, n_blocks: int, hidden_dim: int, channels: int) -> None:
        super().__init__()
        if n_mels < 2**n_blocks:
            raise UsageError(f"{type(self).__name__} needs at least {2**n_blocks} mel bins, not {n_mels}")
        if not isinstance(hidden_dim, int) or hidden_dim < 1:
            raise UsageError(f"{type(self).__name__} needs layers of at least 1 unit, not {hidden_dim!r}")
        if not isinstance(channels, int) or channels < 1:
            raise UsageError(f"{type(self).__name__} needs at least 1 channel, not {channels!r}")
        self.n_mels, self.channels, self.hidden_dim = n_mels, channels, hidden_dim
        # Each block halves time. Its convolution sees one neighbour on each side, so after all blocks an
        # output frame sees frame_stride - 1 mel frames beyond its own on either side.
        self.frame_stride = self.frame_context = self.min_frames = 2**n_blocks
        self.layer_strides = (*(2**block for block in range(1, n_blocks + 1)), 2**n_blocks, 2**n_blocks)
        self.local_dim = channels * (n_mels // 2**n_blocks)
        blocks: list[nn.Module] = []
        for index in range(n_blocks):
            blocks += [
                nn.Conv2d(1 if index == 0 else channels, channels, kernel_size=3, padding=1),
                nn.BatchNorm2d(channels),
                # The papers put ReLU before the pooling. A maximum and a ReLU commute, so this gives the same
                # values and gradients with a quarter of the ReLU's work and memory.
                nn.MaxPool2d(2),
                nn.ReLU(inplace=True),
            ]
        self.features = nn.Sequential(*blocks)
        self.fc = nn.Sequential(
            nn.Linear(self.local_dim, hidden_dim),
            nn.ReLU(inplace=True),
            Dropout(p=0.3),
            nn.Linear(hidden_dim, hidden_dim),
            nn.ReLU(inplace=True),
        )

    def frames(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Frame embeddings (B, T // frame_stride, D) of log-mels (B, 1, F, T); see `AudioEncoder.frames`."""
        self.check_input(x, lengths)
        *_, (last, _) = self._blocks(x, lengths, self._kernels(x))
        local = bin_major(last)
        return self.join(local, self.fc(local))

    def layer_frames(self, x: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
        """Features over time (B, T_l, D_l): each block, the hidden layer of the MLP, the frame embeddings."""
        self.check_input(x, lengths)
        layers = [bin_major(block) for block, _ in self._blocks(x, lengths, self._kernels(x))]
        local = layers[-1]
        hidden = self.fc[:2](local)
        return [*layers, hidden, self.join(local, self.fc[2:](hidden))]

    def forward(self, x: Tensor, lengths: Tensor | None = None, pooling: TimePooling = "mean+max") -> Tensor:
        """Clip embeddings (B, D); see `AudioEncoder.forward`."""
        if lengths is None and pooling == "mean+max" and self._kernels(x) is not None:
            return self.views(x[None])[0]
        return super().forward(x, lengths, pooling)

    def views(self, x: Tensor) -> Tensor:
        """Embeddings (V, B, D) of views (V, B, 1, F, T); with kernels all of them in one pass."""
        kernels = self._kernels(x)
        drawn_for_each = self.training and len(x) > 1 and is_variational(self)
        if kernels is None or drawn_for_each:
            return super().views(x)
        n_views = len(x)
        x = x.flatten(0, 1)
        self.check_input(x)
        *_, (last, _) = self._blocks(x, None, kernels, n_views)
        local = bin_major(last)
        linear1, _, dropout, linear2, _ = cast("Any", self.fc)
        hidden = relu_dropout(kernels, linear(kernels, local, linear1), dropout.p if self.training else 0.0)
        pooled = self.join(relu_pool_time(kernels, local), relu_pool_time(kernels, linear(kernels, hidden, linear2)))
        return pooled.unflatten(0, (n_views, -1))

    @torch.no_grad()
    def packed(self, precision: torch.dtype) -> PackedAudioNTT | None:
        """See `AudioEncoder.packed`: there is one where there is a fast path on the CPU."""
        parameter = next(self.parameters())
        on_cpu, kernels = parameter.device.type == "cpu", kernels_for(parameter.device)
        if not self.fast or not on_cpu or kernels is None or self.obstacle(parameter.device) is not None:
            return None
        if is_watched(self):
            return None
        if parameter.dtype not in (torch.float32, torch.float64):
            return None
        with evaluating(self):  # a weight that is computed may be another one in training
            return PackedAudioNTT(self, kernels, precision)

    def convolutions(self) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """The convolution of each block, with its norm."""
        for start in self._starts():
            yield cast("nn.Conv2d", self.features[start]), cast("nn.BatchNorm2d", self.features[start + 1])

    def _blocks(
        self, x: Tensor, lengths: Tensor | None, kernels: Kernels | None, n_views: int = 1
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The map and the valid lengths after each block, hiding from it what lies beyond a clip's valid length."""
        for start in self._starts():
            conv, norm, pool, relu = cast("Any", self.features[start : start + LAYERS_PER_BLOCK])
            if lengths is not None:
                # Alone, a clip ends in the convolution's zero padding; in a longer batch it must as well.
                x = x.masked_fill(~valid_positions(lengths, x.shape[-1])[:, None, None, :], 0)
                lengths = lengths // 2
            if kernels is None:
                x = relu(pool(norm(conv(x))))
            elif start == 0:
                x = first_block(kernels, x, conv, norm, n_views)
            else:
                last = start + LAYERS_PER_BLOCK == len(self.features)
                x = later_block(kernels, conv(x), norm, n_views, time_major=last)
            yield x, lengths

    def _kernels(self, x: Tensor) -> Kernels | None:
        """The kernels for `x`, where they may be used."""
        usable = (
            self.fast
            and is_ordinary(x)
            and not x.requires_grad  # also where gradients are not recorded now, as under checkpointing
            and x.dtype in (torch.float32, torch.float64)
            and x.dtype == next(self.parameters()).dtype
            and map_type(x) in (torch.float32, torch.float64, torch.bfloat16)
            and self.obstacle(x.device) is None
        )
        return kernels_for(x.device) if usable else None

    def obstacle(self, device: torch.device) -> str | None:
        """Why there is no fast path on a device: no kernels there, or layers that these do not know."""
        kernels = kernels_for(device)
        if kernels is None:
            return why_none(device)
        for _, norm in self.convolutions():
            if type(norm) is not nn.BatchNorm2d or not norm.affine or not norm.track_running_stats:
                return "it knows no norm but batch norm, whose statistics are not shared among processes"
        if self.channels % kernels.channel_multiple or self.hidden_dim % kernels.channel_multiple:
            return f"it takes channels and hidden units in multiples of {kernels.channel_multiple}"
        if not self._is_as_built():
            return "the encoder's layers or methods are not AudioNTT's own"
        if is_watched(self.features, *self.features, self.fc, *self.fc):
            return "somebody watches the encoder's layers (hooks)"
        return None

    def _is_as_built(self) -> bool:
        """Whether the layers are those of `__init__`, and a subclass has not changed what is done with them."""
        methods = ("forward", "views", "frames", "layer_frames")
        own = all(getattr(type(self), name) is getattr(AudioNTT, name) and name not in vars(self) for name in methods)
        layers, (linear1, relu1, dropout, linear2, relu2) = cast("Any", (self.features, self.fc))
        return (
            own
            and all(_is_block(*layers[start : start + LAYERS_PER_BLOCK]) for start in self._starts())
            and all(is_plain_linear(linear) and linear.bias is not None for linear in (linear1, linear2))
            and self._sizes() == self._sizes_as_built()
            and type(relu1) is type(relu2) is nn.ReLU
            and isinstance(dropout, nn.Dropout)
        )

    def _sizes(self) -> list[int]:
        """Inputs and outputs of all layers, as they are."""
        linear1, _, _, linear2, _ = cast("Any", self.fc)
        sizes = [(conv.in_channels, conv.out_channels, norm.num_features) for conv, norm in self.convolutions()]
        linears = [(linear.in_features, linear.out_features) for linear in (linear1, linear2)]
        return [size for layer in (*sizes, *linears) for size in layer]

    def _sizes_as_built(self) -> list[int]:
        c, d = self.channels, self.hidden_dim
        return [1, c, c] + [c] * 3 * (len(self._starts()) - 1) + [self.local_dim, d, d, d]

    def _starts(self) -> range:
        """Where in `features` each block begins."""
        return range(0, len(self.features), LAYERS_PER_BLOCK)

    def join(self, local: Tensor, mlp: Tensor) -> Tensor:
        """Frame or clip embeddings from the convolutions' features (B, T', local_dim) and the MLP's."""
        raise NotImplementedError


def _is_block(conv: nn.Module, norm: nn.Module, pool: nn.Module, relu: nn.Module) -> bool:
    """Whether these are a 3x3 convolution, some norm, 2x2 max-pooling and ReLU, as built."""
    geometry = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    return (
        type(conv).forward is nn.Conv2d.forward
        and tuple(getattr(conv, name) for name in geometry) == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros")
        and type(pool) is nn.MaxPool2d
        and (pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode) == (2, 2, 0, False)
        and type(relu) is nn.ReLU
    )


class AudioNTT2020(AudioNTT):
    """BYOL-A v1's encoder (Niizumi et al. 2021, arXiv 2103.06695, section III): 3 blocks, MLP output, D free.

    Args:
        n_mels: F, mel bins of the input.
        embedding_dim: D; 512, 1024 and 2048 in the paper (0.60, 1.65 and 5.32 million parameters).
        channels: of every convolution.
    """

    recordable = True

    def __init__(self, n_mels: int = 64, embedding_dim: int = 512, channels: int = CHANNELS) -> None:
        super().__init__(n_mels, n_blocks=3, hidden_dim=embedding_dim, channels=channels)
        self.embedding_dim = embedding_dim

    def join(self, local: Tensor, mlp: Tensor) -> Tensor:
        return mlp


class AudioNTT2022(AudioNTT):
    """BYOL-A v2's encoder (Niizumi et al. 2023, arXiv 2204.07402): 2 blocks; local and MLP features, joined.

    Args:
        n_mels: F, mel bins of the input.
        hidden_dim: width of the MLP; the paper's 2048 gives D = 1024 + 2048 = 3072 (6,333,376 parameters).
        channels: of every convolution; 64 in the paper, of 16 bins each, make the 1024.
    """

    recordable = True

    def __init__(self, n_mels: int = 64, hidden_dim: int = 2048, channels: int = CHANNELS) -> None:
        super().__init__(n_mels, n_blocks=2, hidden_dim=hidden_dim, channels=channels)
        self.embedding_dim = self.local_dim + hidden_dim

    def join(self, local: Tensor, mlp: Tensor) -> Tensor:
        return torch.cat([local, mlp], dim=-1)


def bin_major(x: Tensor) -> Tensor:
    """Lay feature maps (B, C, F, T) out as frames (B, T, F * C), the channels of one bin side by side."""
    return x.permute(0, 3, 2, 1).flatten(start_dim=2)
