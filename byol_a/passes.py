"""One pass of a model's encoder, in evaluation: to the device, through the network, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from byol_a.device import PRECISIONS, Precision
from byol_a.encoders.base import evaluating
from byol_a.errors import UsageError
from byol_a.frontend.precision import full_precision
from byol_a.pooling import Pooling

if TYPE_CHECKING:
    from byol_a.encoders.packed import PackedAudioNTT
    from byol_a.encoding import Level
    from byol_a.model import BYOLA


@torch.inference_mode()
def run_encoder(
    model: BYOLA,
    log_mel: Tensor,
    lengths: Tensor | None,
    what: Level | Literal["all_frames"],
    precision: Precision,
    pooling: Pooling = "model",
) -> list[Tensor]:
    """Normalise log-mels (B, F, T) and encode them in evaluation mode, to float32 (or the model's float64)."""
    encoder = model.encoder
    calls: dict[str, Callable[..., Tensor | list[Tensor]]] = {
        "clip": encoder,
        "frame": encoder.frames,
        "layers": encoder.layers,
        "all_frames": encoder.layer_frames,
    }
    check_choice("precision", precision, PRECISIONS)
    # What an encoder does unasked is mean+max, as for audio in pieces: see `AudioEncoder`.
    options = {} if pooling == "model" or what not in ("clip", "layers") else {"pooling": pooling}
    autocast = torch.autocast(log_mel.device.type, torch.bfloat16, enabled=precision == "bf16")
    with evaluating(model), full_precision(), autocast:
        output = calls[what](model.encoder_input(log_mel), lengths, **options)
    outputs = output if isinstance(output, list) else [output]
    return [x if x.dtype == torch.float64 else x.float() for x in outputs]


def packed_encoder(model: BYOLA, precision: Precision) -> PackedAudioNTT | None:
    """The model's encoder prepared for many clips, where it has such a form; to be made anew when weights change."""
    check_choice("precision", precision, PRECISIONS)
    own = next(model.encoder.parameters()).dtype
    # Autocast, which is what bf16 means on the plain path, leaves double precision alone.
    return model.encoder.packed(torch.bfloat16 if precision == "bf16" and own == torch.float32 else own)


def to_device(model: BYOLA, wave: np.ndarray) -> Tensor:
    """A wave as a tensor of the model's device and precision."""
    dtype = next(model.encoder.parameters()).dtype
    return torch.from_numpy(np.ascontiguousarray(wave)).to(model.device, dtype)


def upload(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host's on a device, without waiting for what that is doing."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def download(values: Tensor) -> Callable[[], np.ndarray]:
    """Begin to fetch a tensor from its device; what is returned waits for it."""
    if values.device.type != "cuda":
        return lambda: values.cpu().numpy()
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    host.copy_(values, non_blocking=True)
    done = torch.cuda.Event()
    done.record(torch.cuda.current_stream(values.device))

    def wait() -> np.ndarray:
        done.synchronize()
        return host.numpy()

    return wait


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name} is one of {', '.join(choices)}, not {value!r}")
