"""Counter-based randomness: known values, uniformity, whiteness, independence of neighbours."""

from __future__ import annotations

import numpy as np
import torch

from byol_a.data.synth.hashing import child_keys, mix64, root_keys, signed, stream, uniforms, white_noise


def splitmix64(x: int) -> int:
    mask = 2**64 - 1
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


def lowbias32(key: int, n: int) -> int:
    mask = 2**32 - 1
    x = (n * 0x9E3779B9 + key) & mask
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & mask
    x ^= (key >> 32) & mask
    x = ((x ^ (x >> 15)) * 0x846CA68B) & mask
    return x ^ (x >> 16)


def test_mix64_is_the_splitmix_finaliser_in_python_integers() -> None:
    values = [0, 1, 2**63 - 1, 2**63, 2**64 - 1, 0x9E3779B97F4A7C15, 123456789]
    mixed = mix64(torch.tensor([signed(v, 64) for v in values]))
    assert mixed.tolist() == [signed(splitmix64(v), 64) for v in values]


def test_noise_is_the_hash_in_python_integers() -> None:
    keys = root_keys(5, torch.arange(3))
    noise = white_noise(keys, 50)
    for row, key in enumerate(keys.tolist()):
        expected = [signed(lowbias32(key & (2**64 - 1), n), 32) / 2**31 for n in range(50)]
        np.testing.assert_allclose(noise[row].numpy(), expected, atol=1e-7)


def test_uniforms_are_uniform_and_uncorrelated() -> None:
    streams = torch.tensor([stream(f"parameter {i}") for i in range(8)])
    u = uniforms(root_keys(0, torch.arange(20_000)), streams).numpy()
    assert u.min() >= 0
    assert u.max() < 1
    counts = np.stack([np.histogram(u[:, i], bins=20, range=(0, 1))[0] for i in range(8)])
    assert np.abs(counts / 1000 - 1).max() < 0.15  # 5 standard deviations of 1000 counts
    assert np.abs(np.corrcoef(u.T) - np.eye(8)).max() < 0.04
    assert abs(np.corrcoef(u[1:, 0], u[:-1, 0])[0, 1]) < 0.04  # consecutive indices


def test_noise_is_white_and_different_for_every_key() -> None:
    noise = white_noise(root_keys(1, torch.arange(16)), 16382).double()
    assert noise.abs().max() <= 1
    assert abs(noise.square().mean().item() - 1 / 3) < 0.01
    spectrum = torch.fft.rfft(noise).abs().square().mean(0)[1:-1].view(-1, 10).mean(1)
    assert (spectrum / spectrum.mean() - 1).abs().max() < 0.5
    assert (torch.corrcoef(noise) - torch.eye(16)).abs().max() < 0.05


def test_a_longer_noise_begins_with_the_shorter() -> None:
    keys = root_keys(2, torch.arange(2))
    assert torch.equal(white_noise(keys, 1000)[:, :300], white_noise(keys, 300))


def test_keys_do_not_collide() -> None:
    keys = torch.cat([root_keys(seed, torch.arange(5000)) for seed in (0, 1, 2, -1, 2**63)])
    children = torch.cat([keys, child_keys(keys, 1), child_keys(keys, stream("layer"))])
    assert len(children.unique()) == len(children)
