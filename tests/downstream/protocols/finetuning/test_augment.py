"""Augmentation: what masks hide, what mixing makes of sounds and labels, and that parameters say how much."""

from __future__ import annotations

import math

import pytest
import torch

from byol_a.errors import UsageError
from downstream.protocols.finetune import FinetuneProtocol
from downstream.protocols.finetuning.augment import Augmentation, mix
from downstream.protocols.finetuning.spec_augment import SpecAugment, SpecAugmentConfig
from tests.downstream.protocols.finetuning.tones import PLAIN


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_masks_hide_what_they_say_and_nothing_else() -> None:
    augment = SpecAugment(SpecAugmentConfig(freq_masks=2, freq_share=0.3, time_masks=3, time_share=0.2), 20, 50)
    freq, time = augment.draw(40, generator())
    assert freq.start.shape == (40, 2) and time.length.shape == (40, 3)
    for masks, size, most in ((freq, 20, 6), (time, 50, 10)):
        assert masks.length.min() == 0 and masks.length.max() == most
        assert masks.start.min() >= 0 and (masks.start + masks.length).max() <= size
    x = torch.randn(40, 20, 50)
    hidden = augment.apply(x, freq, time)
    for clip in range(40):
        expected = x[clip].clone()
        for start, length in zip(freq.start[clip], freq.length[clip], strict=True):
            expected[start : start + length] = 0
        for start, length in zip(time.start[clip], time.length[clip], strict=True):
            expected[:, start : start + length] = 0
        assert torch.equal(hidden[clip], expected)


def test_masks_are_uniform_in_length_and_reach_both_ends() -> None:
    augment = SpecAugment(SpecAugmentConfig(freq_masks=1, freq_share=0.5, time_masks=0), 8, 10)
    freq, time = augment.draw(20_000, generator())
    share = torch.bincount(freq.length.flatten(), minlength=5) / 20_000
    torch.testing.assert_close(share, torch.full((5,), 0.2), atol=0.02, rtol=0)
    assert (freq.start + freq.length).max() == 8 and not time.cover(10).any()


@pytest.mark.parametrize("options", [{"freq_masks": -1}, {"time_share": 1.5}, {"freq_share": -0.1}])
def test_masks_that_cannot_be_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="spec_augment"):
        SpecAugmentConfig(**options)  # type: ignore[arg-type]


def test_mixing_adds_energies_and_labels_in_the_same_shares() -> None:
    x, targets = torch.randn(16, 4, 5), torch.eye(16)
    mixed, wanted = mix(x, targets, 0.5, generator())
    torch.testing.assert_close(wanted.sum(dim=1), torch.ones(16))
    for clip in range(16):
        own = wanted[clip, clip]
        (others,) = torch.nonzero(wanted[clip] * (torch.arange(16) != clip), as_tuple=True)
        partner = int(others[0]) if len(others) else clip
        assert len(others) <= 1 and own >= 0.5
        expected = (own * x[clip].exp() + (1 - own) * x[partner].exp() + torch.finfo(torch.float32).eps).log()
        torch.testing.assert_close(mixed[clip], expected)


def test_nothing_asked_for_changes_nothing_and_all_of_it_keeps_the_shape() -> None:
    x, targets = torch.randn(6, 16, 24), torch.eye(6)
    same, labels = Augmentation(FinetuneProtocol(**PLAIN), 16, 24)(x, targets, generator())  # type: ignore[arg-type]
    assert torch.equal(same, x) and torch.equal(labels, targets)
    augment = Augmentation(FinetuneProtocol(), 16, 24)
    once, once_labels = augment(x, targets, generator(3))
    again, again_labels = augment(x, targets, generator(3))
    other, _ = augment(x, targets, generator(4))
    assert once.shape == x.shape and torch.isfinite(once).all()
    assert torch.equal(once, again) and torch.equal(once_labels, again_labels) and not torch.equal(once, other)
    assert math.isclose(float(once_labels.sum()), 6, rel_tol=1e-5)
