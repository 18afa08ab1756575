"""Clips without padding, by prepared weights, are those of the plain path, each alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from byol_a.encoders import AudioEncoder, create_encoder
from byol_a.encoders.base import pool_time
from byol_a.kernels import why_none

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(why_none(CPU) is not None, reason=f"no kernels here: {why_none(CPU)}")
# Channels and units for the matrix unit, and such as it does not take.
SIZES = {
    "v1": ("AudioNTT2020", {"embedding_dim": 64}),
    "v2": ("AudioNTT2022", {"hidden_dim": 96}),
    "v1, small": ("AudioNTT2020", {"embedding_dim": 48, "channels": 16}),
    "v2, small": ("AudioNTT2022", {"hidden_dim": 48, "channels": 16}),
}
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


def make_encoder(name: str, n_mels: int = 64) -> AudioEncoder:
    """An encoder whose batch norms have seen something, some of whose channels are turned over."""
    torch.manual_seed(0)
    kind, options = SIZES[name]
    encoder = create_encoder(kind, n_mels=n_mels, **options)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return encoder.eval()


def stacks_of(dtype: torch.dtype, n_mels: int = 64) -> list[Tensor]:
    shapes = [(2, n_mels, 37), (1, n_mels, 8), (3, n_mels, 96), (1, n_mels, 1301)]
    return [torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype) for shape in shapes]


def plain_frames(encoder: AudioEncoder, stacks: list[Tensor]) -> list[Tensor]:
    encoder.fast = False
    with torch.inference_mode():
        frames = [encoder.frames(clip[None, None])[0] for stack in stacks for clip in stack]
    encoder.fast = True
    return frames


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("n_mels", [64, 37])
@pytest.mark.parametrize("name", SIZES)
def test_each_clip_as_if_alone(name: str, n_mels: int, dtype: torch.dtype) -> None:
    encoder, stacks = make_encoder(name, n_mels).to(dtype), stacks_of(dtype, n_mels)
    expected = plain_frames(encoder, stacks)
    packed = encoder.packed(dtype)
    assert packed is not None
    for clip, frames in zip(expected, packed.frames(stacks), strict=True):
        torch.testing.assert_close(frames, clip, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    for pooling in ("mean+max", "mean", "max"):
        pooled = torch.cat([pool_time(frames[None], None, pooling) for frames in expected])
        torch.testing.assert_close(packed.clips(stacks, pooling), pooled, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("name", SIZES)
def test_bfloat16_is_no_further_from_the_truth_than_autocast(name: str) -> None:
    encoder, stacks = make_encoder(name), stacks_of(torch.float32)
    expected = torch.cat(plain_frames(encoder, stacks))
    with torch.autocast("cpu", torch.bfloat16):
        autocast = torch.cat(plain_frames(encoder, stacks)).float()
    packed = encoder.packed(torch.bfloat16)
    assert packed is not None
    error = (torch.cat(packed.frames(stacks)).float() - expected).norm()
    assert error < 1.2 * (autocast - expected).norm()


def test_frames_stay_when_others_follow() -> None:
    packed = make_encoder("v1").packed(torch.float32)
    assert packed is not None
    first, second = ([torch.randn(1, 64, 40)] for _ in range(2))
    frames = packed.frames(first)
    before = frames[0].clone()
    packed.frames(second)
    packed.clips(second)
    torch.testing.assert_close(frames[0], before, rtol=0, atol=0)


def test_prepared_in_training_mode_it_is_still_evaluation() -> None:
    encoder, stacks = make_encoder("v2"), stacks_of(torch.float32)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    expected = encoder.packed(torch.float32).clips(stacks)
    torch.testing.assert_close(encoder.train().packed(torch.float32).clips(stacks), expected, rtol=0, atol=0)
    assert encoder.training
    for name, tensor in encoder.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_where_there_is_none() -> None:
    encoder = make_encoder("v2")
    encoder.fast = False
    assert encoder.packed(torch.float32) is None
    assert create_encoder("AudioNTT2022", norm="group", hidden_dim=48).packed(torch.float32) is None
    assert create_encoder("AudioNTT2022", hidden_dim=50).packed(torch.float32) is None
    watched = make_encoder("v2")
    watched.fc[0].register_forward_hook(lambda *_: None)
    assert watched.packed(torch.float32) is None
    assert make_encoder("v2").half().packed(torch.float32) is None


def test_weights_that_are_drawn_in_training_are_their_means() -> None:
    """Whatever mode the encoder is in; and no random number is used up."""
    encoder = create_encoder("AudioNTT2022", 64, hidden_dim=32, channels=16, variational=True).double()
    x = torch.randn(3, 64, 40, dtype=torch.float64)
    expected = encoder.eval()(x[:, None])
    state = torch.get_rng_state()
    packed = encoder.train().packed(torch.float64)
    assert packed is not None and encoder.training and torch.equal(state, torch.get_rng_state())
    torch.testing.assert_close(packed.clips([x]), expected, rtol=1e-9, atol=1e-9)


def test_a_callers_autocast_changes_nothing() -> None:
    encoder = create_encoder("AudioNTT2022", 64, hidden_dim=32, channels=16)
    x = torch.randn(3, 64, 40)
    packed = encoder.packed(torch.float32)
    assert packed is not None
    expected = packed.clips([x])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(packed.clips([x]), expected)
