"""Clips are shared out so that cores are done together."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from byol_a import BYOLA, FrontendConfig, NormStats
from byol_a.batches import BATCH_SECONDS, one_ahead, shares

MODEL = BYOLA("AudioNTT2020", {"embedding_dim": 16, "channels": 16}, FrontendConfig(), NormStats(0.0, 1.0))


@given(st.lists(st.integers(1, 60 * 16000), max_size=80), st.integers(1, 40), st.integers(1, 4))
def test_shares(lengths: list[int], batch_size: int, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = shares(lengths, batch_size, MODEL)
    finally:
        torch.set_num_threads(before)
    assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
    assert all(0 < len(batch) <= batch_size for batch in found)
    held = [sum(lengths[index] for index in batch) for batch in found]
    longest = max(lengths, default=0)
    assert all(seconds <= BATCH_SECONDS["cpu"] * 16000 + longest for seconds in held)
    if len(lengths) <= batch_size and held:
        # No two cores differ by more than one clip.
        assert len(held) < threads or max(held) - min(held) <= longest


def test_one_ahead() -> None:
    made: list[int] = []

    def items():
        for item in range(4):
            made.append(item)
            yield item

    assert [(item, len(made)) for item in one_ahead(items())] == [(0, 2), (1, 3), (2, 4), (3, 4)]
