"""timm backbones as encoders."""

from __future__ import annotations

import pytest
import torch

from byol_a.encoders import create_encoder
from byol_a.errors import UsageError

pytest.importorskip("timm")

NAMES = ["resnet10t", "vit_tiny_patch16_224", "convnext_atto", "efficientnet_b0"]


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_pooling(name):
    encoder = create_encoder(f"timm:{name}").eval()
    dim = encoder.embedding_dim
    assert encoder.frame_context is None
    with torch.no_grad():
        for n_frames in (96, 150):
            x = torch.randn(2, 1, 64, n_frames)
            frames, clip = encoder.frames(x), encoder(x)
            assert frames.shape[0] == 2 and frames.shape[2] == dim
            assert n_frames // encoder.frame_stride <= frames.shape[1] <= n_frames // encoder.frame_stride + 1
            torch.testing.assert_close(clip, frames.amax(1) + frames.mean(1))
        layers = encoder.layers(x)
    assert len(layers) > 2
    torch.testing.assert_close(layers[-1], clip)


def test_token_grid_keeps_time_order():
    """With attention off, a change at the end of the clip changes the last frame only."""
    encoder = create_encoder("timm:vit_tiny_patch16_224").eval()
    for block in encoder.backbone.blocks:
        block.attn.proj.weight.data.zero_()
    x = torch.randn(1, 1, 64, 96)
    late = x.clone()
    late[..., -1] += 10
    with torch.no_grad():
        change = (encoder.frames(x) - encoder.frames(late)).abs().amax(dim=(0, 2))
    assert change[-1] > 1e-3
    torch.testing.assert_close(change[:-1], torch.zeros_like(change[:-1]))


def test_state_dict_round_trip_and_training():
    one, other = create_encoder("timm:resnet10t"), create_encoder("timm:resnet10t")
    other.load_state_dict(one.state_dict())
    x = torch.randn(2, 1, 64, 96)
    torch.testing.assert_close(one.eval()(x), other.eval()(x))
    one.train()(x).sum().backward()
    assert all(p.grad is not None for p in one.parameters())


def test_errors_name_what_is_wrong():
    with pytest.raises(UsageError, match="did you mean 'resnet18'"):
        create_encoder("timm:resnet18x")
    with pytest.raises(UsageError, match="cannot build 'resnet10t' with the options"):
        create_encoder("timm:resnet10t", flux_capacitor=1)
    with pytest.raises(UsageError, match="one length, unpadded"):
        create_encoder("timm:resnet10t").frames(torch.zeros(2, 1, 64, 96), torch.tensor([96, 50]))


@pytest.mark.parametrize(
    "option",
    [
        "checkpoint_path",
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "pretrained_strict",
        "cache_dir",
        "scriptable",
        "exportable",
        "no_jit",
        "features_only",
        "in_chans",
        "num_classes",
        "model_name",
    ],
)
def test_options_that_load_or_run_something_are_refused(option, monkeypatch):
    import timm

    monkeypatch.setattr(timm, "create_model", lambda *args, **kwargs: pytest.fail("reached timm"))
    with pytest.raises(UsageError, match=f"does not take the option {option}"):
        create_encoder("timm:resnet10t", **{option: "/tmp/x.pth"})
