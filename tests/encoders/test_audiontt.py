"""AudioNTT2020 and AudioNTT2022: definition, sizes, padding and chunks."""

from __future__ import annotations

import pytest
import torch

from byol_a.encoders import AudioEncoder, create_encoder
from byol_a.errors import UsageError

SMALL = [("AudioNTT2020", {"embedding_dim": 32}), ("AudioNTT2022", {"hidden_dim": 32})]


def small_encoder(name: str, options: dict[str, int], seed: int = 0) -> AudioEncoder:
    torch.manual_seed(seed)
    encoder = create_encoder(name, **options)
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # trained-looking statistics, some slopes negative
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.normal_()
            module.bias.data.normal_()
    return encoder.eval()


@pytest.fixture(params=SMALL, ids=[name for name, _ in SMALL])
def encoder(request: pytest.FixtureRequest) -> AudioEncoder:
    return small_encoder(*request.param)


@pytest.mark.parametrize(
    ("file", "name", "options"),
    [("audiontt2020_d32", *SMALL[0]), ("audiontt2022_d1056_h32", *SMALL[1])],
)
def test_golden(golden, file, name, options):
    data = golden(file)
    encoder = create_encoder(name, **options).eval()
    state = {k.removeprefix("state/"): torch.from_numpy(data[k]) for k in data.files if k.startswith("state/")}
    encoder.load_state_dict(state, strict=True)
    with torch.no_grad():
        for suffix in ("", "_long"):
            x = torch.from_numpy(data["x" + suffix])
            clip, frames = (torch.from_numpy(data[f"out_{kind}{suffix}"]) for kind in ("clip", "frames"))
            torch.testing.assert_close(encoder(x), clip, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(encoder.frames(x), frames, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "parameters", "dim"),
    [
        ("AudioNTT2020", {"embedding_dim": 512}, 600_192, 512),
        ("AudioNTT2020", {"embedding_dim": 1024}, 1_649_792, 1024),
        ("AudioNTT2020", {"embedding_dim": 2048}, 5_321_856, 2048),
        ("AudioNTT2022", {}, 6_333_376, 3072),
    ],
)
def test_parameter_counts_and_sizes(name, options, parameters, dim):
    encoder = create_encoder(name, **options)
    assert sum(p.numel() for p in encoder.parameters()) == parameters
    assert encoder.embedding_dim == dim
    assert encoder.eval()(torch.zeros(2, 1, 64, 16)).shape == (2, dim)


def test_padded_batch_equals_each_clip_alone(encoder):
    lengths = [encoder.min_frames, 11, 16, 37, 50, 64, 65]
    clips = [torch.randn(1, 1, 64, length) for length in lengths]
    batch = torch.full((len(clips), 1, 64, 71), float("nan"))  # garbage of the worst kind beyond each clip
    for row, clip in zip(batch, clips, strict=True):
        row[..., : clip.shape[-1]] = clip[0]
    with torch.no_grad():
        together = encoder(batch, torch.tensor(lengths))
        frames = encoder.frames(batch, torch.tensor(lengths))
        layers = encoder.layers(batch, torch.tensor(lengths))
        for index, clip in enumerate(clips):
            valid = lengths[index] // encoder.frame_stride
            torch.testing.assert_close(together[index], encoder(clip)[0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(frames[index, :valid], encoder.frames(clip)[0], atol=1e-5, rtol=1e-5)
            for layer, alone in zip(layers, encoder.layers(clip), strict=True):
                torch.testing.assert_close(layer[index], alone[0], atol=1e-5, rtol=1e-5)


def test_chunks_with_context_equal_the_whole(encoder):
    encoder = encoder.double()
    stride, context = encoder.frame_stride, encoder.frame_context
    x = torch.randn(1, 1, 64, 203, dtype=torch.float64)
    with torch.no_grad():
        whole = encoder.frames(x)
        for start in range(0, x.shape[-1] // stride * stride, 5 * stride):
            first = max(0, start - context)
            chunk = x[..., first : start + 5 * stride + context]
            skip = (start - first) // stride
            piece = encoder.frames(chunk)[:, skip : skip + 5]
            expected = whole[:, start // stride : start // stride + 5]
            torch.testing.assert_close(piece, expected, atol=1e-10, rtol=0)


def test_context_is_needed(encoder):
    """The receptive field is as wide as documented, so that the chunk test above tests something."""
    stride = encoder.frame_stride
    x = torch.randn(1, 1, 64, 20 * stride)
    changed = x.clone()
    changed[..., 10 * stride - (stride - 1)] += 100.0
    unseen = x.clone()
    unseen[..., 10 * stride - stride] += 100.0
    with torch.no_grad():
        frame = encoder.frames(x)[:, 10]
        assert not torch.allclose(encoder.frames(changed)[:, 10], frame)
        torch.testing.assert_close(encoder.frames(unseen)[:, 10], frame, atol=0, rtol=0)


def test_layers_end_in_the_clip_embedding(encoder):
    x = torch.randn(2, 1, 64, 40)
    with torch.no_grad():
        layers = encoder.layers(x)
        torch.testing.assert_close(layers[-1], encoder(x))
    n_blocks = len(encoder.features) // 4
    bins = [64 // 2 ** (block + 1) for block in range(n_blocks)]
    assert [layer.shape for layer in layers[:-2]] == [(2, 64 * n) for n in bins]
    assert layers[-2].shape == (2, 32)


def test_pooling_before_relu_equals_the_papers_order(encoder):
    """Values and parameter gradients of Conv, BN, ReLU, MaxPool."""
    encoder = encoder.double()
    x = torch.randn(2, 1, 64, 32, dtype=torch.float64)
    swapped = x
    for index in range(0, len(encoder.features), 4):
        conv, norm, pool, _ = encoder.features[index : index + 4]
        swapped = pool(torch.relu(norm(conv(swapped))))
    parameters = list(encoder.features.parameters())
    ours = encoder.features(x)
    torch.testing.assert_close(ours, swapped, atol=0, rtol=0)
    for one, other in zip(
        torch.autograd.grad(ours.square().sum(), parameters),
        torch.autograd.grad(swapped.square().sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_channels_last_gives_the_same(encoder):
    x = torch.randn(2, 1, 64, 40)
    with torch.no_grad():
        expected = encoder(x)
        last = encoder.to(memory_format=torch.channels_last)
        torch.testing.assert_close(
            last(x.contiguous(memory_format=torch.channels_last)), expected, atol=1e-4, rtol=1e-4
        )


def test_training_mode_has_gradients_everywhere(encoder):
    encoder.train()
    encoder(torch.randn(4, 1, 64, 96)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("shape", [(1, 64, 96), (1, 2, 64, 96), (1, 1, 63, 96), (1, 1, 64, 3)])
def test_wrong_shapes_are_named(encoder, shape):
    with pytest.raises(UsageError, match="takes log-mels of shape"):
        encoder(torch.zeros(shape))


def test_unknown_names_and_options():
    with pytest.raises(UsageError, match="did you mean 'AudioNTT2022'"):
        create_encoder("audiontt2021b2")
    with pytest.raises(UsageError, match="there are AudioNTT2020, AudioNTT2022, timm:<name>"):
        create_encoder("zzz")
    with pytest.raises(UsageError, match=r"does not take these options.*width"):
        create_encoder("AudioNTT2020", width=3)
    with pytest.raises(UsageError, match="at least 8 mel bins"):
        create_encoder("AudioNTT2020", n_mels=4)


def test_other_mel_counts():
    encoder = create_encoder("AudioNTT2022", n_mels=80, hidden_dim=16)
    assert encoder.embedding_dim == 64 * 20 + 16
    assert encoder(torch.zeros(2, 1, 80, 8)).shape == (2, 64 * 20 + 16)
