"""Padding many waves at once is padding each."""

from __future__ import annotations

import pytest
import torch

from byol_a.frontend import FrontendConfig, LogMel
from byol_a.frontend.ragged import pad_each

LENGTHS = [1, 2, 511, 512, 513, 514, 1024, 1025, 3000]


@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
@pytest.mark.parametrize("longest", [600, 3000])
def test_each_by_itself(pad_mode: str, longest: int) -> None:
    logmel = LogMel(FrontendConfig(pad_mode=pad_mode))
    waves = [torch.randn(length) for length in LENGTHS if length <= longest]
    together = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    padded = pad_each(logmel, together, torch.tensor([len(wave) for wave in waves]))
    for wave, row in zip(waves, padded, strict=True):
        own = logmel.pad(wave)
        torch.testing.assert_close(row[: len(own)], own, rtol=0, atol=0)
        assert not row[len(own) :].any()
