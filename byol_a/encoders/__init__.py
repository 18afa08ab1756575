"""Encoders: log-mels in, embeddings out; `create_encoder` builds one by name."""

from __future__ import annotations

import difflib
from typing import Any, Literal

from byol_a.encoders.audiontt import AudioNTT2020, AudioNTT2022
from byol_a.encoders.base import AudioEncoder, pool_time
from byol_a.encoders.norms import NormConfig, NormKind, change_norms
from byol_a.encoders.variational import make_variational
from byol_a.errors import UsageError

ENCODERS: dict[str, type[AudioEncoder]] = {"AudioNTT2020": AudioNTT2020, "AudioNTT2022": AudioNTT2022}
TIMM_PREFIX = "timm:"

__all__ = ["ENCODERS", "AudioEncoder", "AudioNTT2020", "AudioNTT2022", "create_encoder", "pool_time"]


def create_encoder(
    name: str,
    n_mels: int = 64,
    norm: NormKind = "batch",
    norm_groups: int = 16,
    weight_standardization: bool | Literal["scaled"] = False,
    variational: bool = False,
    **options: Any,
) -> AudioEncoder:
    """Build an encoder with random weights.

    Args:
        name: `"AudioNTT2020"`, `"AudioNTT2022"` or `"timm:<timm model>"`.
        n_mels: F, mel bins of its input.
        norm, norm_groups, weight_standardization: what stands in the place of its batch norms, and whether its weights
            are standardised, see `NormConfig`. `"batch"` leaves the encoder as it is.
        variational: whether there is a Gaussian over each weight of its convolutions and linear layers, see
            `GaussianWeight`.
        options: the encoder's own, such as `embedding_dim` or `hidden_dim`.

    Raises:
        UsageError: for an unknown name or option, naming the nearest one there is; for a norm that it cannot take.
    """
    norms = NormConfig(norm, norm_groups, weight_standardization)
    encoder = _plain_encoder(name, n_mels, options)
    change_norms(encoder, norms)
    if not isinstance(variational, bool):
        raise UsageError(f"an encoder's option variational is true or false, not {variational!r}")
    if variational:
        make_variational(encoder)
    return encoder


def _plain_encoder(name: str, n_mels: int, options: dict[str, Any]) -> AudioEncoder:
    if name.startswith(TIMM_PREFIX):
        from byol_a.encoders.timm import TimmEncoder

        return TimmEncoder(name.removeprefix(TIMM_PREFIX), n_mels=n_mels, **options)
    if name not in ENCODERS:
        names = [*ENCODERS, f"{TIMM_PREFIX}<name>"]
        near = {known.lower(): known for known in ENCODERS}
        match = difflib.get_close_matches(name.lower(), near, n=1)
        hint = f"did you mean {near[match[0]]!r}?" if match else f"there are {', '.join(names)}"
        raise UsageError(f"there is no encoder {name!r}; {hint}")
    try:
        return ENCODERS[name](n_mels=n_mels, **options)
    except TypeError as error:
        raise UsageError(f"encoder {name} does not take these options: {options} ({error})") from error
