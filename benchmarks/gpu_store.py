"""A packed store written with NumPy alone, for machines that can decode no audio, and the runs' configuration there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from byol_a.augment import AugmentConfig, MixupConfig
from byol_a.data.index import AudioIndex
from byol_a.data.store.audio_store import CLIPS, FORMAT, FORMAT_VERSION, SHARDS, STORE
from byol_a.methods import BYOLConfig
from byol_a.methods.heads import HeadConfig
from byol_a.methods.predictors import MLPPredictorConfig
from byol_a.training.config import DataConfig, EncoderConfig, PretrainConfig, TrainingConfig
from byol_a.training.optimizers import OptimizerConfig

SAMPLE_RATE = 16000


def write_store(folder: Path, clips: int, seconds: float) -> Path:
    """A store of tones in noise, each clip with a pitch and a loudness of its own; no checksum in it is a real one."""
    rng = np.random.default_rng(0)
    length = round(seconds * SAMPLE_RATE)
    (folder / SHARDS).mkdir(parents=True)
    tape = rng.integers(-2000, 2000, clips * length, dtype=np.int16)
    time = np.arange(length, dtype=np.float32) / SAMPLE_RATE
    for clip in tape.reshape(clips, length):
        pitch, gain = rng.uniform(60, 7000), rng.uniform(100, 20000)
        clip += (gain * np.sin(np.float32(2 * np.pi * pitch) * time)).astype(np.int16)
    np.save(folder / SHARDS / "00000.npy", tape)
    columns = {
        "root": pa.array(["/nowhere"] * clips),
        "path": pa.array([f"{number:06d}.wav" for number in range(clips)]),
        "size": pa.array([2 * length] * clips),
        "sample_rate": pa.array([SAMPLE_RATE] * clips, pa.int32()),
        "channels": pa.array([1] * clips, pa.int16()),
        "frames": pa.array([length] * clips),
        "duration": pa.array([seconds] * clips),
        "start": pa.array(np.arange(clips) * length),
        "length": pa.array([length] * clips),
    }
    AudioIndex(pa.table(columns)).write(folder / CLIPS)
    description = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "sample_rate": SAMPLE_RATE,
        "shards": [{"samples": len(tape), "checksum": "none"}],
        "clips": {"rows": clips, "checksum": "none"},
        "counts": {"bytes": tape.nbytes, "clipped": 0},
    }
    (folder / STORE).write_text(json.dumps(description))
    return folder


def byola_v2(quick: bool, device: str) -> PretrainConfig:
    """The recipe byola_v2, made without what reads recipes; with `quick` the same thing in small."""
    training = TrainingConfig(precision="bf16" if device == "cuda" else "float32")
    encoder = EncoderConfig(options={"hidden_dim": 2048})
    config = PretrainConfig(encoder=encoder, optimizer=OptimizerConfig(lr=1e-4), training=training)
    if not quick:
        return config
    return replace(
        config,
        encoder=EncoderConfig(options={"hidden_dim": 16, "channels": 16}),
        augment=AugmentConfig(mixup=MixupConfig(memory=32)),
        method=BYOLConfig(projector=HeadConfig(16, 8), predictor=MLPPredictorConfig(hidden=16)),
        data=DataConfig(workers=1),
        training=replace(training, batch_size=8, log_every=2),
    )
