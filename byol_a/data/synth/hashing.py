"""Counter-based randomness: every random number is a hash of what it is for, so none depends on another."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

_GOLDEN64 = 0x9E3779B97F4A7C15
_SALT = 0x6A09E667F3BCC909  # zero is a fixed point of the finaliser; no key may meet it at the start
_GOLDEN32 = 0x9E3779B9


def signed(value: int, bits: int) -> int:
    """`value` modulo 2^bits, as the signed integer PyTorch stores."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def wrap32(x: Tensor) -> Tensor:
    """int64 modulo 2^32 as int32."""
    return (((x + 2**31) & (2**32 - 1)) - 2**31).to(torch.int32)


def _shift_right(x: Tensor, by: int, bits: int) -> Tensor:
    # PyTorch shifts signed integers arithmetically; a hash needs zeros to come in from the left.
    return (x >> by).bitwise_and_((1 << (bits - by)) - 1)


def mix64(x: Tensor) -> Tensor:
    """Finaliser of splitmix64 (Steele et al. 2014): a bijection of int64 in which every bit reaches every other."""
    x = x ^ _shift_right(x, 30, 64)
    x = x * signed(0xBF58476D1CE4E5B9, 64)
    x = x ^ _shift_right(x, 27, 64)
    x = x * signed(0x94D049BB133111EB, 64)
    return x ^ _shift_right(x, 31, 64)


def stream(name: str) -> int:
    """Number of the random stream called `name`; adding a stream never moves another one."""
    return zlib.crc32(name.encode())


def child_keys(keys: Tensor, counters: Tensor | int) -> Tensor:
    """Keys (int64) that depend on a parent key and a counter; the two broadcast against each other."""
    step = signed(_GOLDEN64, 64)
    return mix64(mix64(keys ^ _SALT) + (signed(counters * step, 64) if isinstance(counters, int) else counters * step))


def root_keys(seed: int, indices: Tensor) -> Tensor:
    """One key for every sound index: indices (B,) int64 -> (B,) int64."""
    return child_keys(torch.tensor(signed(seed, 64)), indices.to("cpu", torch.int64))


def uniforms(keys: Tensor, streams: Tensor) -> Tensor:
    """Uniform numbers in [0, 1): keys (L,), streams (P,) -> (L, P) float64, 53 bits each."""
    bits = child_keys(keys[:, None], streams[None, :])
    return _shift_right(bits, 11, 64).double() * 2.0**-53


def white_noise(keys: Tensor, samples: int) -> Tensor:
    """Uniform white noise in [-1, 1]: keys (L,) int64 -> (L, samples) float32; sample n depends on key and n.

    Two rounds of a 32-bit multiply and xor-shift hash, the high half of the key entering between them, so
    that two keys with one low half in common do not give shifted copies of one noise.
    """
    low, high = wrap32(keys)[:, None], wrap32(keys >> 32)[:, None]
    counter = torch.arange(samples, dtype=torch.int32, device=keys.device) * signed(_GOLDEN32, 32)
    x = counter + low
    x ^= _shift_right(x, 16, 32)
    x *= signed(0x7FEB352D, 32)
    x ^= high
    x ^= _shift_right(x, 15, 32)
    x *= signed(0x846CA68B, 32)
    x ^= _shift_right(x, 16, 32)
    return x.float().mul_(2.0**-31)
