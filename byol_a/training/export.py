"""From a run's checkpoint to a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import byol_a
from byol_a.errors import ByolaError, UsageError
from byol_a.methods import method_class
from byol_a.model import BYOLA
from byol_a.normalize import NormStats
from byol_a.training.checkpoint import DamagedCheckpoint, load_checkpoint
from byol_a.training.config import PretrainConfig
from byol_a.training.ending import sentence
from byol_a.training.run_folder import RunFolder


def export(run: str | Path, out: str | Path, checkpoint: Path | None = None, overwrite: bool = False) -> Path:
    """Write the encoder of a run's checkpoint (the last one by default) as a model folder.

    Raises:
        UsageError: if `run` holds no run or no checkpoint yet, or `out` exists.
        ByolaError: if the checkpoint is damaged or another run's.
    """
    folder = RunFolder(run)
    folder.require()
    checkpoint = checkpoint if checkpoint is not None else folder.last_checkpoint
    if not checkpoint.is_file():
        raise UsageError(f"{folder.path} has no checkpoint {checkpoint} yet; nothing can be exported")
    config, description = folder.config(), folder.description()
    try:
        model = model_of(config, load_checkpoint(checkpoint), description)
    except DamagedCheckpoint as damage:
        raise ByolaError(f"{damage}; choose another one of {checkpoint.parent} with --checkpoint") from damage
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ByolaError(
            f"the checkpoint {checkpoint} does not fit the run in {folder.path} ({sentence(error)[:200]}); choose one "
            "of its own with --checkpoint"
        ) from error
    model.save_pretrained(out, overwrite=overwrite)
    return Path(out)


def model_of(config: PretrainConfig, snapshot: dict[str, Any], description: dict[str, Any]) -> BYOLA:
    """The model in a checkpoint's snapshot, with its provenance."""
    stats = NormStats(**snapshot["stats"])
    model = BYOLA(
        encoder=config.encoder.name,
        encoder_options=config.encoder_options,
        frontend=config.frontend,
        normalization=stats,
        provenance={
            "method": config.method.name,
            "recipe": description.get("recipe"),
            "data": description.get("data"),
            "files": description.get("files"),
            "data_fingerprint": description.get("data_fingerprint"),
            "seed": description.get("seed"),
            "steps": snapshot["step"],
            "clips_seen": snapshot["step"] * config.training.batch_size,
            "crop_seconds": config.data.crop_seconds,
            "byol_a_version": byol_a.__version__,
        },
    )
    prefix = method_class(config.method.name).encoder_prefix
    weights = {
        name.removeprefix(prefix): tensor for name, tensor in snapshot["method"].items() if name.startswith(prefix)
    }
    model.encoder.load_state_dict(weights)
    return model
