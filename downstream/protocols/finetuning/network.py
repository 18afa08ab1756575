"""The network that is fine-tuned: a copy of a model with a linear layer on its clip embedding."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from byol_a import BYOLA
from byol_a.data.crops import from_int16
from byol_a.device import resolve_precision
from byol_a.encoders.base import evaluating
from byol_a.inputs import ahead
from downstream.features import Pooling
from downstream.protocols.finetuning.waves import ClipWaves, units


class Classifier(nn.Module):
    """A copy of a model's front-end and encoder, and a linear layer on the clip embedding.

    The embedding is standardised by batch norm without weights, as probes' inputs are, so that one learning
    rate suits encoders whose embeddings differ in scale.

    Args:
        model: stays as it is.
        n_classes: C.
        dropout: of the standardised embedding.
        seed: of the head's first weights.
        pooling: how frames become the clip embedding; "model" leaves it to the encoder.
    """

    def __init__(self, model: BYOLA, n_classes: int, dropout: float, seed: int, pooling: Pooling = "model") -> None:
        super().__init__()
        self.model, self.n_classes = copy.deepcopy(model), n_classes
        self._pooling: dict[str, Any] = {} if pooling == "model" else {"pooling": pooling}
        dim = model.embedding_dim
        linear = nn.utils.skip_init(nn.Linear, dim, n_classes)  # so that nobody else's random numbers are drawn
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            linear.weight.normal_(std=dim**-0.5, generator=generator)
            linear.bias.zero_()
        self.head = nn.Sequential(nn.BatchNorm1d(dim, affine=False), nn.Dropout(dropout), linear)
        self._frozen = False

    def freeze(self, frozen: bool) -> None:
        """Whether the encoder stays as it is, batch statistics included, and only the head is trained."""
        self._frozen = frozen
        self.model.encoder.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> Classifier:
        """Training mode, except for a frozen encoder."""
        super().train(mode)
        if self._frozen:
            self.model.eval()
        return self

    @torch.no_grad()
    def log_mels(self, waves: Tensor) -> Tensor:
        """Normalised log-mels (B, F, T) of int16 waves (B, S)."""
        normalised: Tensor = self.model.normalize(self.model.frontend(from_int16(waves)))
        return normalised

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, C) float32 of normalised log-mels (B, F, T); the encoder in bf16 on a GPU that has it."""
        device = x.device
        bf16 = device.type == "cuda" and resolve_precision("auto", device) == "bf16"
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            pictures = x.unsqueeze(1).contiguous(memory_format=torch.channels_last)
            embeddings = self.model.encoder(pictures, **self._pooling)
        logits: Tensor = self.head(embeddings.float())
        return logits


def predict(
    network: Classifier, waves: ClipWaves, indices: Sequence[int], samples: int, whole: bool, batch_size: int
) -> np.ndarray:
    """Logits (N, C) float32 of clips, each the mean over its units; NaN for clips that cannot be used.

    Args:
        samples: of a unit.
        whole: whether the units cover the clip, or it is told by the first one.
        batch_size: units in one pass.
    """
    total, count = np.zeros((len(indices), network.n_classes)), np.zeros(len(indices))

    def batches() -> Iterator[tuple[list[int], np.ndarray]]:
        places = {index: place for place, index in enumerate(indices)}
        owners: list[int] = []
        windows: list[np.ndarray] = []
        for index, wave in waves.read(indices):
            for window in units(wave, samples, whole):
                owners.append(places[index])
                windows.append(window)
                if len(windows) == batch_size:
                    yield owners, np.stack(windows)
                    owners, windows = [], []
        if windows:
            yield owners, np.stack(windows)

    with evaluating(network), torch.inference_mode():
        for owners, windows in ahead(batches()):
            logits = network(network.log_mels(torch.from_numpy(windows).to(network.model.device)))
            np.add.at(total, owners, logits.cpu().numpy())
            np.add.at(count, owners, 1)
    with np.errstate(invalid="ignore"):
        return (total / count[:, None]).astype(np.float32)
