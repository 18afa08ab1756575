"""A tiny network, and tones that it can tell apart: what fine-tuning is tried on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from byol_a import BYOLA, FrontendConfig, NormStats
from byol_a.errors import AudioError
from byol_a.progress import Progress
from downstream.features import ModelFeatures
from downstream.protocols.finetune import FinetuneProtocol
from downstream.protocols.finetuning import ClipWaves
from downstream.tasks import Clip, Task

RATE = 4000
PITCHES = {"low": 300, "middle": 700, "high": 1500}
SILENT = Progress("training", enabled=False)
PLAIN = {"mixup": 0.0, "random_resize_crop": None, "spec_augment": None, "head_dropout": 0.0}
FAST = FinetuneProtocol(
    epochs=6,
    warmup_epochs=1,
    batch_size=8,
    lr=3e-3,
    mixup=0.2,
    random_resize_crop=None,
    seeds=(0,),
    unit_seconds=0.2,
    valid_fraction=0.25,
    resamples=20,
)


def tiny_model(seed: int = 0) -> BYOLA:
    frontend = FrontendConfig(
        sample_rate=RATE, n_fft=128, win_length=128, hop_length=40, n_mels=8, f_min=60, f_max=1900
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BYOLA("AudioNTT2020", {"embedding_dim": 16}, frontend, NormStats(-6.0, 4.0)).eval()


def tone(pitch: float, seconds: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    wave = 0.4 * np.sin(2 * np.pi * (pitch * rng.uniform(0.9, 1.1) * time + rng.uniform())) + 0.1 * rng.normal(
        size=len(time)
    )
    return np.clip(wave, -1, 1).astype(np.float32)


class ToneSource:
    """A task's tones in memory, in place of an `EmbeddingSource`; `bad` clips cannot be read."""

    def __init__(self, task: Task, seconds: float = 0.25, bad: tuple[int, ...] = (), **options: object) -> None:
        self.features = ModelFeatures("tiny", tiny_model(), **options)  # type: ignore[arg-type]
        self.clips, self.bad, self.seconds = task.clips, bad, seconds

    def wave(self, index: int, sample_rate: int | None = None) -> np.ndarray:
        if index in self.bad:
            raise AudioError(self.clips[index].path, "truncated: made so")
        tones = [tone(PITCHES[label], self.seconds, index) for label in self.clips[index].labels]
        return np.sum(tones, axis=0) / len(tones) if tones else np.zeros(round(self.seconds * RATE), np.float32)


def tone_task(parts: tuple[str, ...], n: int, labels: tuple[tuple[str, ...], ...] = (("low",), ("high",))) -> Task:
    """`n` clips, whose labels and parts take turns."""
    clips = tuple(
        Clip(Path(f"{i}.wav"), labels[i % len(labels)], parts[i // len(labels) % len(parts)]) for i in range(n)
    )
    classes = tuple(sorted({name for clip in clips for name in clip.labels}))
    multi_label = any(len(clip.labels) != 1 for clip in clips)
    metrics = ("macro_map",) if multi_label else ("accuracy",)
    return Task("tones", "pitch", clips, classes, "given", multi_label=multi_label, metrics=metrics)


def waves_of(found: Mapping[int, np.ndarray | AudioError], most_bytes: float = 1e9) -> ClipWaves:
    def wave_of(index: int) -> np.ndarray:
        wave = found[index]
        if isinstance(wave, AudioError):
            raise wave
        return wave

    return ClipWaves(wave_of, RATE, most_bytes)
