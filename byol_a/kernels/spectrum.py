"""The tables of `Kernels.log_mel`: what a Fourier transform and a mel sum read, laid out for them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SIZES = (128, 16384)
"""The least and the greatest n_fft there is a transform for; it is to be a power of two."""


@dataclass(frozen=True)
class Spectrum:
    """Tables of a front-end, computed in float64; see `logmel.cpp`.

    Attributes:
        size: n_fft.
        n_mels: F.
        window: (n_fft,), halved, which the real transform wants.
        radices: int64, of the stages of a complex transform of n_fft / 2 points; the first is 8.
        factors: of each stage the turns between its groups, (points / radix, radix - 1, 2), one after the other.
        place: (n_fft / 2,) int64, where a frequency stands after the transform.
        roots: (n_fft / 4 + 1, 2), exp(-2 pi i k / n_fft).
        rows: (F + 1,) int64, where the entries of each mel bin begin.
        bins: int64, the frequency of each entry.
        weights: of each entry.
    """

    size: int
    n_mels: int
    window: Tensor
    radices: Tensor
    factors: Tensor
    place: Tensor
    roots: Tensor
    rows: Tensor
    bins: Tensor
    weights: Tensor

    @staticmethod
    def takes(n_fft: int) -> bool:
        """Whether there is a transform of that size."""
        return SIZES[0] <= n_fft <= SIZES[1] and n_fft.bit_count() == 1

    def tables(self) -> tuple[int | Tensor, ...]:
        """All of it, in the order of `logmel.cpp`."""
        transform = (self.size, self.window, self.radices, self.factors, self.place, self.roots)
        return *transform, self.n_mels, self.rows, self.bins, self.weights

    @classmethod
    def of(cls, window: Tensor, mel: Tensor, dtype: torch.dtype) -> Spectrum:
        """The tables for a window (n_fft,) and mel weights (F, n_fft // 2 + 1), both float64, in `dtype`."""
        size, n_mels = len(window), len(mel)
        radices = _radices(size // 2)
        factors, apart = [], size // 2
        place, rest = torch.zeros(size // 2, dtype=torch.int64), torch.arange(size // 2)
        for radix in radices:
            points, apart = apart, apart // radix
            factors.append(_roots(torch.outer(torch.arange(apart), torch.arange(1, radix)), points).flatten())
            place += rest % radix * apart
            rest = rest // radix
        entries = mel.nonzero()
        counts = torch.bincount(entries[:, 0], minlength=n_mels)
        return cls(
            size=size,
            n_mels=n_mels,
            window=(window / 2).to(dtype),
            radices=torch.tensor(radices),
            factors=torch.cat(factors).to(dtype),
            place=place,
            roots=_roots(torch.arange(size // 4 + 1), size).to(dtype),
            rows=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
            bins=entries[:, 1].contiguous(),
            weights=mel[entries[:, 0], entries[:, 1]].to(dtype),
        )


def _radices(points: int) -> list[int]:
    """Factors 8, 4 and 2 of a power of two from 64 up; few stages read the memory few times."""
    bits = points.bit_length() - 1
    return [8] * (bits // 3 - (bits % 3 == 1)) + {0: [], 1: [4, 4], 2: [4]}[bits % 3]


def _roots(turns: Tensor, whole: int) -> Tensor:
    """exp(-2 pi i turns / whole) as pairs, (..., 2) float64."""
    angle = turns.double() * (-2 * math.pi / whole)
    return torch.stack([angle.cos(), angle.sin()], dim=-1)
