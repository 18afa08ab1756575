"""What each stage of `byol-a embed` takes by itself: reading, front-end, convolutions, MLP and pooling, the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import torch

from byol_a import BYOLA
from byol_a.batches import encode_packed
from byol_a.data.io import read_audio
from byol_a.frontend.precision import full_precision
from byol_a.passes import packed_encoder, run_encoder
from byol_a.store_writer import Stamp, StoreWriter

CLIPS, SECONDS = {"cpu": 4, "cuda": 32}, 10
ROWS = 100


def stages(model: BYOLA, fast: Any, precision: Any, file: Path, folder: Path) -> dict[str, float]:
    """Milliseconds for ten seconds of audio of each stage; on a CPU in one thread."""
    model.use_fast(fast)
    n_threads = torch.get_num_threads()
    if model.device.type == "cpu":
        torch.set_num_threads(1)
    try:
        with torch.inference_mode(), full_precision():
            return {**_reading(model, file), **_network(model, precision), **_storing(model, folder)}
    finally:
        torch.set_num_threads(n_threads)


def _reading(model: BYOLA, file: Path) -> dict[str, float]:
    seconds = len(read_audio(file, model.sample_rate)) / model.sample_rate
    return {"read": 1e4 * _fastest(lambda: read_audio(file, model.sample_rate)) / seconds}


def _network(model: BYOLA, precision: Any) -> dict[str, float]:
    n_clips = CLIPS.get(model.device.type, CLIPS["cpu"])
    dtype = next(model.encoder.parameters()).dtype
    waves = (0.1 * torch.randn(n_clips, SECONDS * model.sample_rate, dtype=dtype)).to(model.device)
    log_mels = model.frontend(waves)

    def ms(work: Callable[[], object]) -> float:
        return 1e3 * machine.fastest(work, model.device) / n_clips

    found = {"front-end": ms(lambda: model.normalize(model.frontend(waves)))}
    packed = packed_encoder(model, precision)
    if packed is not None:
        stacks = [model.normalize(log_mels)]
        convolutions = ms(lambda: packed.local_features(stacks, keep=False))
        arrays = list(waves.numpy())
        found["weights prepared"] = ms(lambda: packed_encoder(model, precision))
        whole = ms(lambda: packed.clips(stacks))
        total = ms(lambda: encode_packed(model, packed, arrays, "clip"))
    else:
        x = model.encoder_input(log_mels)
        features = getattr(model.encoder, "features", None)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16"):
            own_layers = features is not None and not (model.encoder.fast and model.encoder.has_fast_path)
            convolutions = ms(lambda: features(x)) if features is not None and own_layers else 0.0
        whole = ms(lambda: run_encoder(model, log_mels, None, "clip", precision))
        total = found["front-end"] + whole
    if convolutions:
        found |= {"convolutions": convolutions, "MLP and pooling": whole - convolutions}
    else:
        found["network"] = whole
    found["front-end and network"] = total
    return found


def _storing(model: BYOLA, folder: Path) -> dict[str, float]:
    """Of one row a file, as there would be one for ten seconds."""
    row = torch.zeros(1, model.embedding_dim).numpy()
    start, end = torch.zeros(1).double().numpy(), torch.full((1,), float(SECONDS)).double().numpy()

    def write() -> None:
        with StoreWriter(folder / "rows", {"format": "npy"}, {}, model.embedding_dim, overwrite=True) as store:
            for number in range(ROWS):
                store.add(str(number), Stamp(0, 0), [(start, end, row)])
            store.finish(0)

    return {"store": 1e3 * _fastest(write) / ROWS}


def _fastest(work: Callable[[], object]) -> float:
    return machine.fastest(work, torch.device("cpu"))
