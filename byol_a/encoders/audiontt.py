"""The convolutional encoders of BYOL-A: AudioNTT2020 (v1) and AudioNTT2022 (v2).

The state-dict keys are those of the published weights (`features.*`, `fc.*`), so that these can be imported.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from byol_a.encoders.base import AudioEncoder, valid_positions
from byol_a.encoders.dropout import Dropout
from byol_a.errors import UsageError

CHANNELS = 64
LAYERS_PER_BLOCK = 4


class AudioNTT(AudioEncoder):
    """Blocks of 3x3 convolution, then an MLP on each frame; the common part of v1 and v2."""

    def __init__(self, n_mels: int, n_blocks: int, hidden_dim: int, channels: int) -> None:
        super().__init__()
        if n_mels < 2**n_blocks:
            raise UsageError(f"{type(self).__name__} needs at least {2**n_blocks} mel bins, not {n_mels}")
        if not isinstance(hidden_dim, int) or hidden_dim < 1:
            raise UsageError(f"{type(self).__name__} needs layers of at least 1 unit, not {hidden_dim!r}")
        if not isinstance(channels, int) or channels < 1:
            raise UsageError(f"{type(self).__name__} needs at least 1 channel, not {channels!r}")
        self.n_mels = n_mels
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
        x, _ = self._convolve(x, lengths, 0, len(self.features))
        local = bin_major(x)
        return self._join(local, self.fc(local))

    def layer_frames(self, x: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
        """Features over time (B, T_l, D_l): each block, the hidden layer of the MLP, the frame embeddings."""
        self.check_input(x, lengths)
        layers: list[Tensor] = []
        for start in range(0, len(self.features), LAYERS_PER_BLOCK):
            x, lengths = self._convolve(x, lengths, start, start + LAYERS_PER_BLOCK)
            layers.append(bin_major(x))
        local = layers[-1]
        hidden = self.fc[:2](local)
        return [*layers, hidden, self._join(local, self.fc[2:](hidden))]

    def _convolve(self, x: Tensor, lengths: Tensor | None, start: int, end: int) -> tuple[Tensor, Tensor | None]:
        """Run `features[start:end]`, hiding from each convolution what lies beyond a clip's valid length."""
        for index in range(start, end):
            layer = self.features[index]
            if lengths is not None and isinstance(layer, nn.Conv2d):
                # Alone, a clip ends in the convolution's zero padding; in a longer batch it must as well.
                x = x.masked_fill(~valid_positions(lengths, x.shape[-1])[:, None, None, :], 0)
            x = layer(x)
            if lengths is not None and isinstance(layer, nn.MaxPool2d):
                lengths = lengths // 2
        return x, lengths

    def _join(self, local: Tensor, mlp: Tensor) -> Tensor:
        """Frame embeddings from the convolutions' features (B, T', local_dim) and the MLP's."""
        raise NotImplementedError


class AudioNTT2020(AudioNTT):
    """BYOL-A v1's encoder (Niizumi et al. 2021, arXiv 2103.06695, section III): 3 blocks, MLP output, D free.

    Args:
        n_mels: F, mel bins of the input.
        embedding_dim: D; 512, 1024 and 2048 in the paper (0.60, 1.65 and 5.32 million parameters).
        channels: of every convolution.
    """

    def __init__(self, n_mels: int = 64, embedding_dim: int = 512, channels: int = CHANNELS) -> None:
        super().__init__(n_mels, n_blocks=3, hidden_dim=embedding_dim, channels=channels)
        self.embedding_dim = embedding_dim

    def _join(self, local: Tensor, mlp: Tensor) -> Tensor:
        return mlp


class AudioNTT2022(AudioNTT):
    """BYOL-A v2's encoder (Niizumi et al. 2023, arXiv 2204.07402): 2 blocks; local and MLP features, joined.

    Args:
        n_mels: F, mel bins of the input.
        hidden_dim: width of the MLP; the paper's 2048 gives D = 1024 + 2048 = 3072 (6,333,376 parameters).
        channels: of every convolution; 64 in the paper, of 16 bins each, make the 1024.
    """

    def __init__(self, n_mels: int = 64, hidden_dim: int = 2048, channels: int = CHANNELS) -> None:
        super().__init__(n_mels, n_blocks=2, hidden_dim=hidden_dim, channels=channels)
        self.embedding_dim = self.local_dim + hidden_dim

    def _join(self, local: Tensor, mlp: Tensor) -> Tensor:
        return torch.cat([local, mlp], dim=-1)


def bin_major(x: Tensor) -> Tensor:
    """Lay feature maps (B, C, F, T) out as frames (B, T, F * C), the channels of one bin side by side."""
    return x.permute(0, 3, 2, 1).flatten(start_dim=2)
