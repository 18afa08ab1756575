"""The straightforward implementation's data: clip by clip from audio to two augmented views, see `baseline`."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from byol_a.augment import AugmentConfig
from byol_a.data.clips import Clips
from byol_a.frontend.config import FrontendConfig
from byol_a.frontend.mel import mel_filterbank
from byol_a.normalize import NormStats
from byol_a.training.config import PretrainConfig

EPS = torch.finfo(torch.float32).eps


class Draw(NamedTuple):
    """What is random about one view of one clip: the parameters of mixup, resize crop and fader."""

    ratio: float
    partner: float  # in [0, 1), the place in what is remembered
    top: int  # of the crop on the canvas, in mel bins and frames
    left: int
    height: int
    width: int
    start: float  # what is added to the first and the last frame
    end: float


def canvas_size(config: AugmentConfig, n_mels: int, n_frames: int) -> tuple[int, int]:
    """Height and width of the zero canvas that crops are taken from."""
    freq, time = config.random_resize_crop.virtual_crop_scale
    return int(n_mels * freq), int(n_frames * time)


def draw(config: AugmentConfig, n_mels: int, n_frames: int) -> Draw:
    """Random parameters for a view of (F, T)."""
    crop, gain = config.random_resize_crop, config.fader.gain
    canvas_height, canvas_width = canvas_size(config, n_mels, n_frames)
    height = min(int(random.uniform(*crop.freq_scale) * n_mels), canvas_height)
    width = min(int(random.uniform(*crop.time_scale) * n_frames), canvas_width)
    return Draw(
        ratio=random.uniform(0.0, config.mixup.max_ratio),
        partner=random.random(),
        top=random.randint(0, canvas_height - height),
        left=random.randint(0, canvas_width - width),
        height=height,
        width=width,
        start=random.uniform(-gain, gain),
        end=random.uniform(-gain, gain),
    )


def augment(x: Tensor, drawn: Draw, memory: Sequence[Tensor], config: AugmentConfig) -> Tensor:
    """One view (F, T) of a normalised log-mel (F, T): mixup with a remembered clip, resize crop, fader."""
    if memory:
        z = memory[int(drawn.partner * len(memory))]
        x = torch.log((1.0 - drawn.ratio) * x.exp() + drawn.ratio * z.exp() + EPS)
    n_mels, n_frames = x.shape
    canvas = torch.zeros(canvas_size(config, n_mels, n_frames), dtype=x.dtype)
    top, left = (canvas.shape[0] - n_mels) // 2, (canvas.shape[1] - n_frames) // 2
    canvas[top : top + n_mels, left : left + n_frames] = x
    crop = canvas[drawn.top : drawn.top + drawn.height, drawn.left : drawn.left + drawn.width]
    x = F.interpolate(crop[None, None], size=(n_mels, n_frames), mode="bicubic", align_corners=True)[0, 0]
    return x + torch.linspace(drawn.start, drawn.end, n_frames, dtype=x.dtype)


class ClipViews(Dataset[tuple[Tensor, Tensor]]):
    """Two views (F, T) of a random crop of each clip; each worker has a mixup memory of its own.

    Args:
        clips: where audio is read from.
        config: of the run.
        stats: log-mel statistics of the training set.
    """

    def __init__(self, clips: Clips, config: PretrainConfig, stats: NormStats) -> None:
        self.clips, self.config, self.stats = clips, config, stats
        self.memory: deque[Tensor] = deque(maxlen=config.augment.mixup.memory)
        self.window = torch.hann_window(config.frontend.win_length)
        self.mel = mel_filterbank(config.frontend)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.views(log_mel_of(self.wave(index), self.window, self.mel, self.config.frontend))

    def views(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """Both views (F, T) of a log-mel (F, T), which is remembered for later clips."""
        x = (log_mel - self.stats.mean) / self.stats.std
        config = self.config.augment
        view1 = augment(x, draw(config, *x.shape), self.memory, config)
        view2 = augment(x, draw(config, *x.shape), self.memory, config)
        self.memory.append(x)
        return view1, view2

    def wave(self, index: int) -> Tensor:
        """A random crop (S,) of a clip, zero-padded where that is shorter."""
        length = self.config.crop_samples
        samples = torch.from_numpy(self.clips.read(index, random.getrandbits(64), length)) / 32767
        missing = length - len(samples)
        before = missing // 2 if self.config.data.pad == "both" else 0
        return F.pad(samples, (before, missing - before))


def log_mel_of(wave: Tensor, window: Tensor, mel: Tensor, config: FrontendConfig) -> Tensor:
    """`log(mel + eps)` (F, T) of one wave (S,)."""
    spectrum = torch.stft(
        wave,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        win_length=config.win_length,
        window=window,
        center=True,
        pad_mode=config.pad_mode,
        return_complex=True,
    )
    return torch.log(mel @ spectrum.abs().square() + EPS)
