"""Reading published BYOL-A weights (`.pth`): which encoder they are is told by their shapes alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from byol_a.encoders import create_encoder
from byol_a.encoders.audiontt import CHANNELS
from byol_a.errors import UsageError
from byol_a.files import require_file

FIRST, MLP = "features.0.weight", "fc.0.weight"
# Words in a key's prefix that mark something else than the network to use.
ASIDE = ("target", "ema", "momentum", "teacher", "optim")


@dataclass(frozen=True)
class EncoderWeights:
    """An encoder's name, its options for `create_encoder`, its F, and its state dict."""

    name: str
    options: dict[str, Any]
    n_mels: int
    state: dict[str, Tensor]


def read_weights(path: str | os.PathLike[str]) -> EncoderWeights:
    """Find and recognise the AudioNTT encoder in a file written by `torch.save`.

    The state dict may be nested in others, its keys may have any prefix (`model.`, `module.`,
    `online_encoder.net.` ...), and whatever else the file holds is ignored. v1 has three blocks of
    convolution, v2 two; D and F follow from the MLP's shape. Nothing in the file is executed
    (`weights_only=True`).

    Raises:
        UsageError: if the file is not there or not of this kind, naming what is missing.
    """
    path = Path(path)
    tensors = dict(_tensors(_load(path)))
    prefix = _prefix(path, tensors)
    state = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    state = {key: tensor for key, tensor in state.items() if key.startswith(("features.", "fc."))}
    if MLP not in state or state[MLP].ndim != 2:
        raise UsageError(f"{path} has no {prefix}{MLP} of two dimensions, so it is no AudioNTT encoder")
    n_blocks = 3 if "features.8.weight" in state else 2
    units, inputs = state[MLP].shape
    n_mels = inputs // CHANNELS * 2**n_blocks
    name, option = ("AudioNTT2020", "embedding_dim") if n_blocks == 3 else ("AudioNTT2022", "hidden_dim")
    options = {option: units}
    return EncoderWeights(name, options, n_mels, _fitted(path, prefix, name, n_mels, options, state))


def _load(path: Path) -> Any:
    require_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can lead the unpickler into any of them
        reason = f"{type(error).__name__}: {error}".strip().split("\n")[0]
        raise UsageError(
            f"{path} cannot be read as weights alone ({reason[:200]}); it must be a file written by "
            f"torch.save that holds tensors, dictionaries and plain values only"
        ) from error


def _tensors(value: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested dictionaries, its keys joined by dots."""
    if isinstance(value, Tensor):
        yield prefix.removesuffix("."), value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _tensors(item, f"{prefix}{key}.")


def _prefix(path: Path, tensors: dict[str, Tensor]) -> str:
    """What stands before the keys of the encoder."""
    prefixes = [key.removesuffix(FIRST) for key in tensors if key == FIRST or key.endswith("." + FIRST)]
    if not prefixes:
        found = ", ".join(list(tensors)[:3]) or "no tensor at all"
        raise UsageError(f"{path} has no key ending in {FIRST}, so it is no AudioNTT encoder (it has {found})")
    chosen = [prefix for prefix in prefixes if not any(word in prefix.lower() for word in ASIDE)] or prefixes
    online = [prefix for prefix in chosen if "online" in prefix.lower()] or chosen
    first = tensors[online[0] + FIRST]
    for other in online[1:]:
        if not torch.equal(tensors[other + FIRST], first):
            names = ", ".join(repr(prefix) for prefix in online)
            raise UsageError(
                f"{path} holds several encoders, under {names}; save the one to import in a file of its own"
            )
    return online[0]


def _fitted(
    path: Path, prefix: str, name: str, n_mels: int, options: dict[str, Any], state: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The state dict in float32, checked key by key against the encoder it is for."""
    with torch.random.fork_rng(devices=[]):
        expected = create_encoder(name, n_mels=max(n_mels, 8), **options).state_dict()
    for key, tensor in expected.items():
        if key.endswith("num_batches_tracked"):
            state.setdefault(key, torch.zeros_like(tensor))  # files of the first PyTorch versions lack it
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing:
        raise UsageError(f"{path} looks like {name}, but lacks {', '.join(prefix + key for key in missing)}")
    if unknown:
        names = ", ".join(prefix + key for key in unknown[:4])
        raise UsageError(f"{path} looks like {name}, but has more than that: {names}")
    for key, tensor in expected.items():
        if state[key].shape != tensor.shape:
            raise UsageError(
                f"{path} looks like {name}, but {prefix}{key} has the shape {tuple(state[key].shape)}, "
                f"not {tuple(tensor.shape)}"
            )
    return {key: state[key].to(tensor.dtype).clone() for key, tensor in expected.items()}
