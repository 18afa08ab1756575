"""Collapse meter, effective rank, alignment and uniformity on representations whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from byol_a.methods.monitor import alignment, collapse_meter, effective_rank, uniformity


def sphere(batch: int, size: int) -> torch.Tensor:
    return torch.randn(batch, size, generator=torch.Generator().manual_seed(0))


def test_collapse_meter_between_one_and_zero() -> None:
    assert collapse_meter(sphere(4096, 64)).item() == pytest.approx(1.0, abs=0.01)
    assert collapse_meter(torch.ones(10, 8)).item() == 0.0
    # One direction only, at any length: collapsed.
    assert collapse_meter(sphere(10, 1).abs() * torch.ones(8)).item() == pytest.approx(0.0, abs=1e-6)
    assert collapse_meter(sphere(1, 8)).item() == 0.0


@pytest.mark.parametrize(("batch", "size", "rank"), [(64, 128, 5), (512, 16, 3)])
def test_effective_rank_counts_equal_directions(batch: int, size: int, rank: int) -> None:
    rng = np.random.default_rng(0)
    coordinates = rng.standard_normal((batch, rank))
    coordinates -= coordinates.mean(0)
    left, _, _ = np.linalg.svd(coordinates, full_matrices=False)  # exactly equal variances
    directions = np.linalg.qr(rng.standard_normal((size, rank)))[0]
    embeddings = torch.tensor(left @ directions.T + 3.0, dtype=torch.float32)
    assert effective_rank(embeddings).item() == pytest.approx(rank, rel=1e-3)


def test_effective_rank_equals_the_covariances_entropy() -> None:
    embeddings = sphere(40, 12) * torch.linspace(0.1, 2, 12)
    eigenvalues = np.linalg.eigvalsh(np.cov(embeddings.double().numpy().T))
    share = eigenvalues / eigenvalues.sum()
    assert effective_rank(embeddings).item() == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-4)
    assert effective_rank(torch.ones(4, 3)).item() == 0.0


def test_alignment_and_uniformity_by_hand() -> None:
    z1, z2 = sphere(20, 6).double(), sphere(21, 6)[1:].double()
    n1, n2 = (z / z.norm(dim=1, keepdim=True) for z in (z1, z2))
    assert alignment(z1, z2).item() == pytest.approx((n1 - n2).pow(2).sum(1).mean().item(), rel=1e-5)
    assert alignment(z1, 3 * z1).item() == pytest.approx(0.0, abs=1e-10)
    distances = torch.pdist(n1).square()
    assert uniformity(z1).item() == pytest.approx(distances.mul(-2).exp().mean().log().item(), rel=1e-5)
    assert uniformity(torch.ones(5, 4)).item() == pytest.approx(0.0, abs=1e-5)
